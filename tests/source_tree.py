"""The project's own source, read as text: what imports which libraries, how long things are."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipelines._code import ROOT


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


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (name, number of lines) of every function in a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def attribute_paths(path: Path) -> set[str]:
    """Return the dotted attributes read in a file, calls and subscripts skipped: ``load_params().project.seed``."""
    return {ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
