"""The person's commands, on a real registry."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from compass_ops.cli.main import main
from compass_ops.registry.store import RegistryStore
from pipelines._code import ROOT
from tests.cli.conftest import Compass
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import promote, shown


def test_help_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from compass_ops.cli.main import main;"
        "result = CliRunner().invoke(main, ['--help']); assert result.exit_code == 0, result.output;"
        "print(sorted({'torch', 'mlflow', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_status_rollback_and_release_tell_one_story(
    compass: Compass, store: RegistryStore, decisions: Decisions
) -> None:
    assert "Nothing is registered yet" in compass("status").output
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2, window="0007")
    back = compass("rollback", "sw", "--why", "complaints from Dodoma")
    assert (back.exit_code, "sw: version 1 is in Production, in place of version 2 and held." in back.output) == (
        0,
        True,
    )
    assert shown(store)[1] == {"champion": "1"}
    (row,) = json.loads(compass("status", "--json").output)
    assert (row["language"], row["production"], row["adopted window"]) == ("sw", "1", "0007")
    assert row["hold"].endswith(": complaints from Dodoma")
    header, line = compass("status").output.splitlines()
    assert header.startswith("language  production")
    assert line.split()[:2] == ["sw", "1"]
    assert compass("release", "sw").exit_code == 0
    (row,) = json.loads(compass("status", "--json").output)
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
    compass: Compass, store: RegistryStore, decisions: Decisions, arguments: list[str], code: int, told: str
) -> None:
    promote(store, decisions, "sw", 1)
    result = compass(*arguments)
    assert (result.exit_code, told in result.output) == (code, True)
    assert "Traceback" not in result.output


def test_every_command_explains_itself_and_prints_json() -> None:
    assert len(main.commands) >= 18
    for name, command in main.commands.items():
        told = CliRunner().invoke(main, [name, "--help"]).output
        assert "--json" in told, name
        assert len(command.get_short_help_str(200)) > 25, name
        assert f"\n    compass {name}" in told, name  # an example
    overview = CliRunner().invoke(main, ["--help"]).output
    for code in ("0  done", "1  not done", "2  a wrong call", "3  not done: somebody else", "4  verify or doctor"):
        assert code in overview
    assert sorted(name for name in main.commands if f"\n  {name} " in overview) == sorted(main.commands)
    assert "..." not in overview.split("\nLook:")[1]  # no sentence is cut
    assert "_COMPASS_COMPLETE=bash_source" in overview


def test_the_shell_completes_commands_and_languages(project: Path) -> None:
    shutil.copy(ROOT / "params.yaml", project / "params.yaml")

    def completed(*words: str) -> list[str]:
        shell = ShellComplete(main, {}, "compass", "_COMPASS_COMPLETE")
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    assert completed("ro") == ["rollback"]
    assert completed("rollback", "s") == ["sw"]
    assert completed("history", "") == ["ca", "et", "hr", "id", "ro", "sw", "tr", "zu"]
    (project / "params.yaml").unlink()
    assert completed("rollback", "s") == []


def test_a_registry_can_be_named_without_params(store: RegistryStore) -> None:
    told = CliRunner().invoke(main, ["--uri", store.location.uri, "status", "--json"])
    assert (told.exit_code, told.output) == (0, "[]\n")
