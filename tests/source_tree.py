"""The project's own source, read as text: what imports what, where a script's data files lie, how long things are."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("compass_ops", "pipelines")
STAGES = sorted(path.stem for path in (ROOT / "pipelines").glob("*.py") if not path.stem.startswith("_"))


def sources(*folders: str) -> list[Path]:
    """Return the Python files below the folders, relative to the project."""
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """Return the parsed file; ``path`` is relative to the project."""
    return ast.parse((ROOT / path).read_text("utf-8"))


def imported_names(path: Path) -> set[str]:
    """Return the dotted names that a file imports anywhere: at the top, in functions, for types only."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_libraries(path: Path) -> set[str]:
    """Return the top-level names of what a file imports."""
    return {name.partition(".")[0] for name in imported_names(path)}


def module_file(name: str) -> Path | None:
    """Return the file of a module, or of the module that holds the object of this dotted name."""
    parts = name.split(".")
    candidates = [Path(*parts[:-1], f"{parts[-1]}.py"), Path(*parts[:-2], f"{parts[-2]}.py") if parts[1:] else Path()]
    return next((path for path in candidates if (ROOT / path).is_file()), None)


def closure(path: Path) -> set[Path]:
    """Return the project's own files that a file needs when it runs, itself and packaged data files included."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        own = [name for name in imported_names(file) if name.partition(".")[0] in PACKAGES]
        waiting += [found for name in own if (found := module_file(name)) is not None]
    return seen | {data for file in seen for data in _data_files(file)}


def _data_files(path: Path) -> Iterator[Path]:
    """Yield the packaged data files whose name stands in a file as a string."""
    data = {file.name: file for file in (ROOT / path.parts[0]).rglob("*") if file.is_file() and file.suffix != ".py"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in data:
            yield data[node.value].relative_to(ROOT)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (name, number of lines) of every function in a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def attribute_paths(path: Path) -> set[str]:
    """Return the dotted attributes read in a file, calls and subscripts skipped: ``load_params().project.seed``."""
    return {ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
