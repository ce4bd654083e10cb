"""What the README says must be there: commands, stages, paths, profiles, and examples that validate."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from compass_ops.cli.main import main
from compass_ops.errors import ParamsError
from compass_ops.evaluation.table import BEGIN, with_table
from compass_ops.params import load_params
from pipelines._code import ROOT

README = (ROOT / "README.md").read_text("utf-8")
PINNED = "0" * 40


def test_its_commands_exist() -> None:
    named = set(re.findall(r"(?:`|^)compass ([a-z]+)", README, re.MULTILINE))
    assert named == set(main.commands)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_its_table_of_stages_is_the_road() -> None:
    listed = re.findall(r"^\| ([a-z]+) \|", README.split("## The road")[1].split("## Results")[0], re.MULTILINE)
    assert listed[0] == "stage"
    assert listed[1:] == list(yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"])


def test_its_profiles_exist() -> None:
    kept = {path.stem for path in (ROOT / "profiles").glob("*.yaml")}
    paragraph = README.split("`profiles/` holds")[1].split("\n\n")[0]
    assert set(re.findall(r"`([\w.-]+)`", paragraph)) == kept
    assert set(re.findall(r"PROFILE=([\w.-]+)", README)) - {"mine"} <= kept


def test_its_file_tree_exists() -> None:
    block = README.split("## The code")[1].split("```")[1]
    for line in block.strip().splitlines():
        folder = ROOT / "compass_ops" if line.startswith("  ") else ROOT
        for name in re.split(r"\s{2,}", line.strip())[0].split(", "):
            if name not in (".memo/", "build/", "mlruns/", "workspaces/"):
                assert (folder / name).exists(), name


def test_its_examples_validate(tmp_path: Path) -> None:
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    blocks = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        params |= yaml.safe_load(block.replace("<the commit, 40 hex digits>", PINNED))
    origins = [yaml.safe_load(text) for text in re.findall(r"`(\{kind: (?:log|none).*?\})`", README)]
    assert [origin["kind"] for origin in origins] == ["none", "log"]
    for origin in origins:
        params["traffic"]["origin"] = origin
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("wrong", "told"), [("budget: 0", "sample.budget"), ("windows_rows: 400", "windows_rows")])
def test_its_messages_are_those_that_come(wrong: str, told: str, tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text("utf-8")
    budget = r"(?<=strategy: compass_plus\n  )budget: \d+"
    right = {"budget: 0": budget, "windows_rows: 400": r"window_rows: \d+"}[wrong]
    changed, count = re.subn(right, wrong, text)
    assert count == 1
    (tmp_path / "params.yaml").write_text(changed, "utf-8")
    with pytest.raises(ParamsError, match=re.escape(told)) as error:
        load_params(tmp_path / "params.yaml")
    said = [line.replace(f"{tmp_path}/", "") for line in str(error.value).splitlines()]
    assert [line for line in said if line in README.splitlines()] != []


def test_the_table_has_its_place() -> None:
    assert with_table(README, "x").count(BEGIN) == 1
