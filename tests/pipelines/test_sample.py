"""Stage sample: what a choice is remembered by."""

from pathlib import Path
from typing import Any

import pytest

from compass_ops.params import Params, load_params
from compass_ops.selection.subset import SelectionFiles, row_costs
from compass_ops.storage import write_json
from pipelines import sample
from pipelines._code import ROOT
from tests.selection.test_subset import files

__all__ = ["files"]


@pytest.mark.parametrize(("unit", "same"), [("tokens", False), ("rows", True)])
def test_what_a_row_costs_is_part_of_what_its_choice_is_remembered_by(
    files: SelectionFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unit: str, same: bool
) -> None:
    """In tokens a text is cut at base.max_tokens, and the separator is a part of it; in rows neither counts."""
    params = load_params(ROOT / "params.yaml")
    project, choice = params.project.model_copy(update={"languages": ["sw"]}), {"unit": unit}
    params = params.model_copy(update={"project": project, "sample": params.sample.model_copy(update=choice)})
    write_json(tmp_path / "base.json", {"model": {"digest": "b" * 64}})
    monkeypatch.setattr(sample, "_costs", lambda *_: row_costs)
    found: list[dict[str, str]] = []
    monkeypatch.setattr(sample, "fan_out", lambda stage, inputs, *_: found.append(inputs))

    def remembered(changed: Params) -> dict[str, str]:
        monkeypatch.setattr(sample, "load_params", lambda: changed)
        folders: dict[str, Any] = {"records": files.records, "vectors": files.vectors, "clusters": files.clusters}
        folders |= {"base": tmp_path / "base.json", "out": tmp_path / "out"}
        arguments = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
        sample.main(arguments, standalone_mode=False)
        return found[-1]

    before = remembered(params)
    for change in ({"max_tokens": 7}, {"separator": " = "}):
        other = params.model_copy(update={"base": params.base.model_copy(update=change)})
        assert (remembered(other) == before) == same
