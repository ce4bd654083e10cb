"""Stage sources: what the cached stages read that DVC cannot know, as digests: the user's own files, and the code."""

from collections.abc import Iterable
from pathlib import Path

from compass_ops.corpus.outside import digests
from compass_ops.corpus.sources import matching
from compass_ops.params import Params, load_params
from compass_ops.source_sections import FilesParams, HubParams
from compass_ops.storage import file_digest, write_json
from pipelines._code import ROOT, STAGES, code_of
from pipelines._stage import MEMO, path_option, stage


@stage
@path_option("--out")
def main(out: Path) -> None:
    """Digest the files that `ingest`, `sample` and `traffic` read (what is missing, they say) and all stages' code."""
    params = load_params()
    origin = params.traffic.origin
    read = {
        "ingest": _files(params),
        "sample": matching([params.sample.transfer_matrix], Path()) if params.sample.transfer_matrix else [],
        "traffic": matching(origin.files, Path()) if origin.kind == "log" else [],
    }
    for name, files in read.items():
        write_json(out / f"{name}.json", digests(files, MEMO / "sources" / f"{name}.json"))
    for stage_name in STAGES:
        code = sorted(path.as_posix() for path in code_of(stage_name))
        write_json(out / "code" / f"{stage_name}.json", {path: file_digest(ROOT / path) for path in code})


def _files(params: Params) -> Iterable[Path]:
    for source in params.ingest.sources:
        if isinstance(source, FilesParams):
            yield from matching(source.files, Path())
        elif isinstance(source, HubParams) and source.revision is None:
            yield from (path for path in Path(source.id).rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
