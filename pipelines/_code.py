"""Which of the project's own files a stage runs: DVC does not follow Python imports, so they are followed here."""

import ast
from functools import cache
from pathlib import Path

from compass_ops.errors import CompassError

ROOT = Path(__file__).parents[1]
PACKAGES = ("compass_ops", "pipelines")
STAGES = sorted(path.stem for path in (ROOT / "pipelines").glob("*.py") if not path.stem.startswith("_"))


class CodeError(CompassError):
    """Code whose imports or data files cannot be told from its text."""


def script(stage: str) -> Path:
    """Return the script of a stage, relative to the project."""
    return Path("pipelines", f"{stage}.py")


def closure(path: Path) -> set[Path]:
    """Return the project's own files that a file needs when it runs, itself and packaged data files included.

    All paths are relative to the project. ``CodeError`` if a file has a relative import, or two data files one name.
    """
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        if (file := waiting.pop()) not in seen:
            seen.add(file)
            waiting += _imported(file)
    return seen | {data for file in seen for data in _data_files(file)}


def tree(path: Path) -> ast.Module:
    """Return the parsed file; ``path`` is relative to the project."""
    return ast.parse((ROOT / path).read_text("utf-8"))


def imported_names(path: Path) -> set[str]:
    """Return the dotted names that a file imports anywhere: at the top, in functions, for types only."""
    return _names_and_texts(path)[0]


def module_file(name: str) -> Path | None:
    """Return the file of a module, or of the module that holds the object of this dotted name."""
    parts = name.split(".")
    candidates = [Path(*parts[:-1], f"{parts[-1]}.py"), Path(*parts[:-2], f"{parts[-2]}.py") if parts[1:] else Path()]
    return next((path for path in candidates if (ROOT / path).is_file()), None)


@cache
def _imported(path: Path) -> list[Path]:
    own = [name for name in imported_names(path) if name.partition(".")[0] in PACKAGES]
    return [found for name in own if (found := module_file(name)) is not None]


def _data_files(path: Path) -> list[Path]:
    """Return the packaged data files whose name stands in a file as a string."""
    data = _packaged(path.parts[0])
    return [data[text] for text in _names_and_texts(path)[1] if text in data]


@cache
def _packaged(package: str) -> dict[str, Path]:
    """Return {name: path} of a package's data files; a name stands for one file."""
    files = [path.relative_to(ROOT) for path in (ROOT / package).rglob("*.*") if path.is_file()]
    data = [path for path in files if path.suffix not in (".py", ".pyc")]
    found = {path.name: path for path in data}
    if len(found) < len(data):
        raise CodeError(f"{package}: data files have one name; it must be one each: {sorted(map(str, data))}.")
    return found


@cache
def _names_and_texts(path: Path) -> tuple[set[str], set[str]]:
    """Return the dotted names that a file imports, and its strings: one walk, for the stage runs every time."""
    names, texts = set[str](), set[str]()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise CodeError(f"{path}:{node.lineno}: a relative import cannot be followed. Import by the full name.")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
    return names, texts
