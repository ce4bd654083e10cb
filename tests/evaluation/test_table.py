"""The README's table, and the command that writes it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compass_ops.cli.main import main
from compass_ops.errors import CompassError
from compass_ops.evaluation.table import BEGIN, END, accuracy_table, with_table


def summary(accuracy: float | None, low: float | None, high: float | None, n: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "low": low, "high": high, "n": n}


METRICS: dict[str, Any] = {
    "sw": {
        "base": summary(0.5, 0.4004, 0.5996, 100) | {"margin": -1.0, "asked": summary(0.4, 0.2, 0.6, 20.6)},
        "adapter": summary(0.4, 0.309, 0.4985, 100) | {"margin": -2.0, "asked": summary(0.6, 0.4, 0.8, 20.6)},
    },
    "ca": {
        "base": summary(0.25, 0.2, 0.3, 300) | {"margin": -1.0, "asked": summary(0.1, 0.0, 0.25, 40.2)},
        "adapter": summary(0.75, 0.7, 0.8, 300) | {"margin": 1.0, "asked": summary(0.9, 0.75, 1.0, 40.2)},
    },
}
TABLE = """\
| language | items | zero-shot, as asked | adapter, as asked | zero-shot, all alike | adapter, all alike |
| :-- | --: | :-: | :-: | :-: | :-: |
| ca | 300 (40) | 0.100 [0.000, 0.250] | 0.900 [0.750, 1.000] | 0.250 [0.200, 0.300] | 0.750 [0.700, 0.800] |
| sw | 100 (21) | 0.400 [0.200, 0.600] | 0.600 [0.400, 0.800] | 0.500 [0.400, 0.600] | 0.400 [0.309, 0.498] |
| **mean of 2** | 400 | 0.250 | 0.750 | 0.375 | 0.575 |"""


def test_table_by_hand() -> None:
    assert accuracy_table(METRICS) == TABLE


def test_languages_without_numbers_are_shown_and_not_averaged() -> None:
    nothing = summary(None, None, None, 0)
    unlabelled = nothing | {"margin": None, "asked": nothing}
    lines = accuracy_table(METRICS | {"hr": None, "zu": {"base": unlabelled, "adapter": unlabelled}}).splitlines()
    assert lines[3] == "| hr | - | - | - | - | - |"
    assert lines[5] == "| zu | - | - | - | - | - |"
    assert lines[6] == TABLE.splitlines()[-1]


def test_without_any_number_there_is_no_mean() -> None:
    assert accuracy_table({"hr": None}).splitlines()[-1] == "| **mean of 0** | - | - | - | - | - |"


def test_no_language_is_an_error() -> None:
    with pytest.raises(CompassError, match="holds no language"):
        accuracy_table({})


def test_the_table_replaces_what_stands_between_the_markers() -> None:
    once = with_table(f"# A\n{BEGIN}\nold\n\nolder\n{END}\nB\n", TABLE)
    assert once == f"# A\n{BEGIN}\n{TABLE}\n{END}\nB\n"
    assert with_table(once, TABLE) == once


@pytest.mark.parametrize(
    "text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}", f"{BEGIN}\n{END}\n{END}"]
)
def test_markers_must_stand_once_and_in_order(text: str) -> None:
    with pytest.raises(CompassError, match="once each, in this order"):
        with_table(text, TABLE)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose last evaluation was ``METRICS``; the command is called in a folder below it."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    below = tmp_path / "notes"
    below.mkdir()
    monkeypatch.chdir(below)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    evaluated = tmp_path / "build" / "evaluate"
    evaluated.mkdir(parents=True)
    (evaluated / "metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def compass_table(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["table", *arguments])


def test_the_command_prints_the_last_evaluation(project: Path) -> None:
    result = compass_table()
    assert (result.exit_code, result.output) == (0, f"{TABLE}\n")


def test_a_failed_language_is_not_passed_over(project: Path) -> None:
    receipt = project / "build" / "evaluate" / "hr" / "receipt.json"
    receipt.parent.mkdir()
    receipt.write_text('{"status": "failed", "reason": "no own data"}')
    assert "| hr | - | - | - | - | - |" in compass_table().output


def test_the_command_writes_through_a_link_and_leaves_nothing_beside(project: Path) -> None:
    readme = project / "README.md"
    readme.write_text(f"# Größe\n{BEGIN}\n{END}\nend\n", "utf-8")
    link = project / "notes" / "link.md"
    link.symlink_to(readme)
    assert compass_table("--write", "link.md").exit_code == 0
    assert readme.read_text("utf-8") == f"# Größe\n{BEGIN}\n{TABLE}\n{END}\nend\n"
    assert link.is_symlink()
    assert sorted(path.name for path in project.iterdir()) == ["README.md", "build", "dvc.yaml", "notes"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "README.md: cannot be read"),
        (b"no markers", "README.md: The text must hold the lines"),
        (b"\xff\xfe", "README.md: cannot be read as UTF-8 text"),
    ],
)
def test_a_file_that_cannot_take_the_table_stays_as_it_is(project: Path, content: bytes | None, told: str) -> None:
    readme = Path("README.md")
    if content is not None:
        readme.write_bytes(content)
    result = compass_table("--write", "README.md")
    assert (result.exit_code, told in result.output) == (1, True)
    assert "Traceback" not in result.output
    assert (readme.read_bytes() if readme.exists() else None) == content


def test_without_a_run_the_command_says_what_to_do(project: Path) -> None:
    (project / "build" / "evaluate" / "metrics.json").unlink()
    result = compass_table()
    assert (result.exit_code, "Run `dvc repro` to make it" in result.output) == (1, True)
