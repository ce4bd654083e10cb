"""Stage embed: what cannot be embedded is told with the records that it stands in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compass_ops.corpus.records import to_table
from compass_ops.params import load_params
from compass_ops.selection import embed as room
from compass_ops.storage import write_json, write_table
from pipelines import embed
from pipelines._code import ROOT
from tests.selection.test_subset import records


class Half:
    """An embedder that knows no Turkish."""

    def encode(self, texts: Sequence[str], **_: Any) -> Any:
        return np.array([[np.nan, 0.0] if "tr" in text else [1.0, 0.0] for text in texts], np.float32)


def test_a_text_without_a_vector_is_told_with_its_role_and_language(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for language in ("sw", "tr"):
        table = to_table(records("target", language, [0, 0]))
        write_table(tmp_path / "ingest" / "target" / f"{language}.parquet", table)
    pinned = {"id": "half", "revision": None, "path": "half", "digest": "e" * 64}
    write_json(tmp_path / "base.json", {"embedder": pinned})
    monkeypatch.setattr(embed, "load_params", lambda: load_params(ROOT / "params.yaml"))
    monkeypatch.setattr(room, "load_embedder", lambda *_: Half())
    with pytest.raises(SystemExit):
        embed.main(["--records", "ingest", "--base", "base.json", "--out", "out"], standalone_mode=False)
    told = (
        "records of target/tr (role/language): The embedder gave no finite vector for 'tr target 0?' and 1 other texts."
    )
    assert f"{told} Leave them out of the data, or choose another base.embedder." in capsys.readouterr().err
