"""What is printed fits into its line, whatever the registry holds."""

import pytest

from compass_ops.cli.options import print_table


def test_a_cell_neither_breaks_its_line_nor_widens_every_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("who", "why"), [{"who": "ann\nbob", "why": "red \x1b[31m"}, {"who": None, "why": "x" * 1000}])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["who      why", "ann bob  red [31m", f"-        {'x' * 197}..."]


def test_a_text_does_not_turn_its_line_around(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("who", "why"), [{"who": "a\u202enn", "why": "line\u2028end"}])
    assert capsys.readouterr().out.splitlines()[1] == "ann  line end"
