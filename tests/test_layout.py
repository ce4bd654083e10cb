"""House rules as code: names, sizes, and what may be imported where (import contracts: pyproject.toml)."""

import ast
import csv
import subprocess
import sys
from pathlib import Path

import pytest

from compass_ops.params import Params
from pipelines._code import PACKAGES, ROOT, STAGES
from tests.source_tree import functions, imported_libraries, sources, tree

LIBRARY = sources("compass_ops")
CODE = sources(*PACKAGES)
TESTS = sources("tests")

# One word, five places; what differs does so for a reason.
SECTION_OF = {
    "sources": "ingest",  # and traffic's log
    "snapshot": "registry",  # three stages, one registry
    "register": "registry",
    "promote": "registry",
    "admit": "gate",  # one gate, two stages
}
SHARED_SECTIONS = {"project", "registry"}
MODULE_OF = {
    "register": "reconcile",  # one function for both: write what decisions ask for and the registry lacks
    "promote": "reconcile",
    "report": "fleet",  # monitoring/report.py is the door to Evidently
}
# Modules without a test file of their name, and the file that tests them.
TESTED_IN = {
    "cli/__main__": "cli/test_main",
    "cli/export": "serving/test_export",
    "cli/plan": "monitoring/test_coverage",
    "sections": "test_params",
    "registry_sections": "test_params",
    "selection_sections": "test_params",
    "source_sections": "test_params",
    "tend_sections": "test_params",
    "corpus/collect": "corpus/test_ingest",
    "corpus/worldfacts_facts": "corpus/test_worldfacts",
    "corpus/worldfacts_names": "corpus/test_worldfacts",
    "corpus/worldfacts_questions": "corpus/test_worldfacts",
    "training/adapter_file": "serving/test_slots",
    "training/version": "registry/test_versions",
    "evaluation/candidates": "evaluation/test_gate",
    "evaluation/decision": "evaluation/test_admit",
    "evaluation/items": "evaluation/test_evaluate",
    "evaluation/scorer": "evaluation/test_evaluate",
    "registry/artifacts": "registry/test_restore",
    "registry/collect": "registry/test_retention",
    "registry/decisions": "registry/test_reconcile",
    "registry/listing": "registry/test_database",
    "registry/mlmodel": "serving/test_pyfunc",
    "registry/rows": "registry/test_reconcile",
    "registry/store": "registry/test_reconcile",
    "serving/base_folder": "serving/test_pyfunc",
    "monitoring/comparison": "monitoring/test_watch",
    "monitoring/evidence": "monitoring/test_report",
    "monitoring/request_log": "monitoring/test_traffic",
    "monitoring/verdict": "monitoring/test_report",
    "monitoring/wording": "monitoring/test_drift",
}

FORBIDDEN_NAMES = {"core", "io", "util", "utils", "common", "helper", "helpers", "misc", "tools", "lib", "base"}
BASE_MODEL = {Path("pipelines/base.py"), Path("compass_ops/training/base.py")}  # the stage's word: a base model

IMPURE = {"os", "pathlib", "logging", "time", "datetime", "mlflow", "random", "socket", "requests", "subprocess"}
PURE = {
    "": [
        "errors",
        "seeding",
        "registry_sections",
        "sections",
        "selection_sections",
        "source_sections",
        "terminal",
        "tend_sections",
    ],
    "corpus": ["decontaminate", "records", "traits"],
    "selection": [
        "centring",
        "choose",
        "cluster",
        "compass_plus",
        "nearest",
        "ngrams",
        "problem",
        "quotas",
        "sample",
        "strategies",
        "validity",
    ],
    "training": ["batches", "ewc", "fisher", "replay"],
    "evaluation": ["candidates", "decision", "gate", "items", "metrics", "score"],
    "registry": ["decisions", "history", "mirror", "mlmodel", "names", "rows", "stages", "transitions"],
    "serving": ["engine_form"],
    "monitoring": ["drift", "evidence", "measures", "permutation", "wording"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_its_params_and_its_module_share_a_word(stage: str) -> None:
    assert SECTION_OF.get(stage, stage) in Params.model_fields or stage == "report"
    module = MODULE_OF.get(stage, stage)
    found = [path for path in LIBRARY if path.stem == module and len(path.parts) == 3]
    assert len(found) == 1, f"{stage}: exactly one room must hold {module}.py; found {[*map(str, found)]}"


def test_every_section_belongs_to_a_stage() -> None:
    assert {SECTION_OF.get(stage, stage) for stage in STAGES} | SHARED_SECTIONS == set(Params.model_fields)


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.name != "__init__.py"], ids=str)
def test_every_module_has_its_test(path: Path) -> None:
    module = path.relative_to("compass_ops").with_suffix("")
    own = module.with_name(f"test_{module.name}").as_posix()
    told = TESTED_IN.get(module.as_posix())
    assert (ROOT / "tests" / f"{told or own}.py").is_file(), f"{path} has no tests/{told or own}.py"
    assert not told or not (ROOT / "tests" / f"{own}.py").is_file(), f"tests/{own}.py exists; TESTED_IN is out of date"


def test_tests_mirror_the_rooms() -> None:
    rooms = {path.parent.name for path in LIBRARY if len(path.parts) == 3}
    files = [path for path in TESTS if path.parent.name in rooms and path.name.startswith("test_")]
    elsewhere = {f"tests/{name}.py" for name in TESTED_IN.values()}
    strays = [
        path.as_posix()
        for path in files
        if path.as_posix() not in elsewhere
        and not (ROOT / "compass_ops" / path.parent.name / path.name.removeprefix("test_")).is_file()
    ]
    assert files
    assert strays == [], "tests/<room>/test_<module>.py tests compass_ops/<room>/<module>.py"


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=str)
def test_no_module_has_a_name_that_says_nothing(path: Path) -> None:
    words = {*path.with_suffix("").parts[1:]}
    if path not in BASE_MODEL and path != Path("tests/training/test_base.py"):
        assert not {word.removeprefix("test_") for word in words} & FORBIDDEN_NAMES


@pytest.mark.parametrize("path", [path for path in CODE if path.name == "__init__.py"], ids=str)
def test_packages_hold_no_code(path: Path) -> None:
    allowed = (ast.Expr, ast.Assign)
    assert all(isinstance(node, allowed) for node in tree(path).body)
    assert len(tree(path).body) == 0 or path == Path("compass_ops/__init__.py")


@pytest.mark.parametrize("path", CODE, ids=str)
def test_modules_and_functions_are_small(path: Path) -> None:
    lines = len((ROOT / path).read_text("utf-8").splitlines())
    most = 90 if path.parts[0] == "pipelines" else 300
    assert lines <= most, f"{path} has {lines} lines, at most {most}"
    long = [f"{name}: {size} lines" for name, size in functions(path) if size > 50]
    assert long == [], f"{path}: a function has at most 50 lines"


@pytest.mark.parametrize(
    "path", [Path("compass_ops", room, f"{name}.py") for room in PURE for name in PURE[room]], ids=str
)
def test_the_core_knows_no_outside_world(path: Path) -> None:
    assert imported_libraries(path) & IMPURE == set()


@pytest.mark.parametrize("module", ["compass_ops", "compass_ops.cli.main", "compass_ops.params", "pipelines.report"])
def test_light_modules_load_neither_torch_nor_mlflow(module: str) -> None:
    heavy = ("torch", "mlflow", "transformers", "evidently", "sentence_transformers", "sklearn", "datasets", "dvc")
    program = f"import sys, {module}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def _shape(path: Path) -> list[str]:
    """Return the top-level parts of a stage script, the same kind in a row told once."""
    kinds: list[str] = []
    for node in tree(path).body:
        told = {ast.ImportFrom: "import", ast.Import: "import", ast.FunctionDef: "function"}.get(type(node))
        if isinstance(node, ast.Expr):
            told = "docstring"
        elif isinstance(node, ast.Assign):
            told = "constant"
        elif isinstance(node, ast.If):
            told = "entry" if "__main__" in ast.unparse(node.test) else "import"
        kinds.append(told or ast.unparse(node))
    return [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_scripts_have_one_shape(stage: str) -> None:
    path = Path("pipelines", f"{stage}.py")
    shape = [kind for kind in _shape(path) if kind != "constant"]
    assert shape == ["docstring", "import", "function", "entry"]
    names = [node.name for node in tree(path).body if isinstance(node, ast.FunctionDef)]
    assert names[0] == "main"
    assert all(name.startswith("_") for name in names[1:]), "main, then its private parts"
    assert (ast.get_docstring(tree(path)) or "").startswith(f"Stage {stage}: ")


def _tags() -> set[str]:
    table = (ROOT / "compass_ops/corpus/worldfacts_strings.tsv").read_text("utf-8")
    return {row["tag"] for row in csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)}


def test_every_language_of_the_table_names_its_source() -> None:
    table = (ROOT / "compass_ops/corpus/worldfacts_strings.tsv").read_text("utf-8")
    rows = list(csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) >= 25
    assert [row["tag"] for row in rows if not row["source"].strip()] == []


def _compared(node: ast.AST) -> list[ast.expr]:
    """Return the operands that a node compares: ``==``, ``in``, ``match``, ``startswith``."""
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        inner = [
            one for operand in operands if isinstance(operand, ast.Tuple | ast.List | ast.Set) for one in operand.elts
        ]
        return [*operands, *inner]
    if isinstance(node, ast.MatchValue):
        return [node.value]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith":
        return node.args
    return []


def language_comparisons(source: ast.AST, tags: set[str]) -> list[str]:
    """Return the comparisons with a language tag; ``id``, also a common key, counts beside the word language."""
    found = []
    for node in ast.walk(source):
        told = {one.value for one in _compared(node) if isinstance(one, ast.Constant)} & tags
        if told - {"id"} or (told and "lang" in ast.unparse(node)):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "code",
    ["language == 'sw'", "'id' != language", "x in ('sw', 'zu')", "tag.startswith('zu')", "match x:\n case 'ca': pass"],
)
def test_comparisons_with_a_language_are_found(code: str) -> None:
    assert language_comparisons(ast.parse(code), _tags())


@pytest.mark.parametrize("path", CODE, ids=str)
def test_languages_are_data(path: Path) -> None:
    assert language_comparisons(tree(path), _tags()) == [], "a language is a row of a table, not a branch"


WRITTEN = ("*.py", "*.yaml", "*.toml", "*.md", "*.html", "*.tsv", "Makefile", ".ci/*")


def test_nothing_is_left_to_do() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *WRITTEN],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    assert files
    left = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if any(mark in line for mark in marks)
    ]
    assert left == []


def test_ci_calls_make_alone() -> None:
    lines = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert [line.split()[0] for line in commands] == ["make"] * len(commands)
    assert commands
