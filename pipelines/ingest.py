"""Stage ingest: sources to clean records by role and language, and rejects with their reasons."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from compass_ops.corpus.fields import FieldMapping, MappedRow, mapped_rows, ready_rows
from compass_ops.corpus.ingest import IngestSettings, ingest, write_corpus
from compass_ops.corpus.sources import FilesSource, HubSource, read_files, read_hub
from compass_ops.corpus.worldfacts import WorldfactsSettings, records
from compass_ops.params import Params, load_params
from compass_ops.source_sections import FilesParams, HubParams, WorldfactsParams
from pipelines._stage import path_option, stage


@stage
@path_option("--out")
def main(out: Path) -> None:
    """Read, check, decontaminate and divide the records of all sources."""
    params = load_params()
    section = params.ingest
    settings = IngestSettings(
        tuple(params.project.languages), section.dev_share, section.near_duplicates, section.keep_translations
    )
    sources = {source.name: _rows(source, params) for source in section.sources}
    write_corpus(ingest(sources, settings), out)


def _rows(source: FilesParams | HubParams | WorldfactsParams, params: Params) -> Iterator[MappedRow]:
    root = Path()
    if isinstance(source, WorldfactsParams):
        made = records(WorldfactsSettings(**source.settings(params.project.languages)), params.project.seed)
        return ready_rows(source.name, chain.from_iterable(made.values()))
    mapping = FieldMapping(**source.mapping.model_dump())
    if isinstance(source, FilesParams):
        return mapped_rows(
            source.name, read_files(FilesSource(source.name, tuple(source.files), mapping), root), mapping
        )
    hub = HubSource(source.name, source.id, source.revision, tuple(source.configs), tuple(source.splits), mapping)
    return mapped_rows(source.name, read_hub(hub, root), mapping)


if __name__ == "__main__":
    main()
