"""What all benchmarks' reports have in common: settings read, tables put into a README, looks noted, code digested."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from compass_ops.errors import CompassError, ParamsError
from compass_ops.evaluation.table import with_table
from compass_ops.params import read_yaml
from compass_ops.sections import Section
from compass_ops.storage import file_digest, read_json, tree_digest, value_digest, write_json

Settings = TypeVar("Settings", bound=Section)

MARKS = "<!-- tables: begin -->", "<!-- tables: end -->"


def with_tables(readme: str, tables: str) -> str:
    """Return a README's text with other tables between its marks; ``CompassError`` if the marks are not there once."""
    return with_table(readme, f"\n{tables}", MARKS)


def note_look(file: Path, dataset: str, runs: Path, why: str | None) -> None:
    """Write down in ``file`` a look at the gate half of the runs in a folder; a second one needs a reason.

    Raises
    ------
    CompassError
        If the data set was looked at before and ``why`` is None.
    """
    looks: dict[str, Any] = read_json(file) if file.exists() else {}
    before = looks.get(dataset, [])
    if before and why is None:
        raise CompassError(
            f"The gate half of {dataset} was looked at before. Say with --why what made that look void; it will "
            "stand beside the results."
        )
    write_json(file, looks | {dataset: [*before, {"runs": tree_digest(runs), "why": why or "first look"}]})


def code_digest(folder: Path) -> str:
    """Digest the Python files below a folder; what Python compiles beside them does not count."""
    return value_digest(
        {path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(folder.rglob("*.py"))}
    )


def load_settings(path: Path, kind: type[Settings]) -> Settings:
    """Read and validate a data set's comparison.yaml; ``ParamsError`` with one line per fault."""
    try:
        value: Mapping[str, Any] = read_yaml(path)
        return kind(**value)
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise ParamsError(f"{path}: cannot be read ({error}). Run in a data set's folder.") from error
    except ValidationError as error:
        faults = [f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ParamsError("\n".join(faults)) from error
