"""The person's commands, on a real registry."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from compass_ops.cli import main
from compass_ops.registry.store import RegistryStore
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import promote, shown


def compass(store: RegistryStore, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--uri", store.location.uri, *arguments])


def test_help_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from compass_ops.cli import main;"
        "result = CliRunner().invoke(main, ['--help']); assert result.exit_code == 0, result.output;"
        "print(sorted({'torch', 'mlflow', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_status_rollback_and_release_tell_one_story(store: RegistryStore, decisions: Decisions) -> None:
    assert "Nothing is registered yet" in compass(store, "status").output
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2, window="0007")
    back = compass(store, "rollback", "sw", "--why", "complaints from Dodoma")
    assert (back.exit_code, "version 1 is in Production and held" in back.output) == (0, True)
    assert shown(store)[1] == {"champion": "1"}
    (row,) = json.loads(compass(store, "status", "--json").output)
    assert (row["language"], row["production"], row["adopted window"]) == ("sw", "1", "0007")
    assert row["hold"].endswith(": complaints from Dodoma")
    header, line = compass(store, "status").output.splitlines()
    assert header.startswith("language  production")
    assert line.split()[:2] == ["sw", "1"]
    assert compass(store, "release", "sw").exit_code == 0
    (row,) = json.loads(compass(store, "status", "--json").output)
    assert row["hold"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["release", "sw"], 1, "sw: nobody holds it"),
        (["rollback", "swa", "--why", "x"], 1, "Did you mean sw?"),
        (["rollback", "../x", "--why", "x"], 1, "is not a language tag"),
        (["rollback", "sw", "--why", "x", "--to", "7"], 1, "version 7 was never in Production"),
        (["rollback", "sw"], 2, "Missing option '--why'"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    store: RegistryStore, decisions: Decisions, arguments: list[str], code: int, told: str
) -> None:
    promote(store, decisions, "sw", 1)
    result = compass(store, *arguments)
    assert (result.exit_code, told in result.output) == (code, True)
    assert "Traceback" not in result.output
