"""Which of the project's own files a stage runs: DVC does not follow Python imports, grimp does."""

from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGES = ("compass_ops", "pipelines")
STAGES = sorted(path.stem for path in (ROOT / "pipelines").glob("*.py") if not path.stem.startswith("_"))


def code_of(stage: str) -> set[Path]:
    """Return the project's own files that a stage's script needs when it runs, relative to the project.

    Imports inside functions and for types count; so do packaged data files beside a module that names them.
    """
    script = f"pipelines.{stage}"
    modules = {_file(module) for module in {script, *_imports().find_upstream_modules(script)}}
    return modules | {data for module in modules for data in _data_files(module)}


@cache
def _imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def _file(module: str) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


@cache
def _data_files(module: Path) -> list[Path]:
    text = (ROOT / module).read_text("utf-8")
    beside = (ROOT / module.parent).iterdir()
    return [path.relative_to(ROOT) for path in beside if path.suffix not in ("", ".py", ".pyc") and path.name in text]
