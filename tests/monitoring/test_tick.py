from pathlib import Path

import pytest

from compass_ops.errors import ParamsError
from compass_ops.monitoring.tick import Step, advance

TEXT = """# project
project:
  until: "0009"  # not this one
traffic:  # the stream
  # until: "0007" is a comment
  until: "0002"   # `compass tick`
  window_rows:   400
drift:
  until: '0001'
"""


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), TEXT.replace('"0002"', "'0002'")])
def test_only_the_window_changes(tmp_path: Path, text: str) -> None:
    path = _file(tmp_path, text)
    assert advance(path, 3) == Step("0003", ())
    assert path.read_bytes().decode() == text.replace("0002", "0003")
    assert list(tmp_path.iterdir()) == [path]


def test_traffic_may_be_the_last_section(tmp_path: Path) -> None:
    path = _file(tmp_path, 'traffic:\n  until: "0000"')
    assert advance(path, 1) == Step("0001", ())
    assert path.read_text() == 'traffic:\n  until: "0001"'


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = _file(tmp_path, TEXT), tmp_path / "link.yaml"
    link.symlink_to(target)
    advance(link, 3)
    assert link.is_symlink()
    assert '"0003"' in target.read_text()


def test_a_tick_may_go_to_the_newest_window_and_says_which_it_passes_over(tmp_path: Path) -> None:
    path = _file(tmp_path, TEXT)
    assert advance(path, 6, newest=True) == Step("0006", ("0003", "0004", "0005"))
    assert path.read_text() == TEXT.replace("0002", "0006")
    with pytest.raises(ParamsError, match=r"traffic.until is 0006 and the last window is 0006"):
        advance(path, 6, newest=True)


def test_no_further_window(tmp_path: Path) -> None:
    path = _file(tmp_path, TEXT)
    with pytest.raises(ParamsError, match=r"traffic.until is 0002 and the last window is 0002"):
        advance(path, 2)
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    "text",
    [
        'traffic: {until: "0002"}\n',
        "traffic:\n  until: 0002\n",
        'drift:\n  until: "0002"\n',
        "traffic:\n  rows: 3\n",
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_left(tmp_path: Path, text: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ParamsError, match="traffic must be a block"):
        advance(path, 9)
    assert path.read_text() == text


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="cannot be read"):
        advance(tmp_path / "params.yaml", 9)
