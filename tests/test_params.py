"""One report with every fault of a params file, each with file, key, expectation, value and remedy."""

import copy
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from compass_ops.errors import ParamsError
from compass_ops.params import Params, load_params, read_yaml

ROOT = Path(__file__).parents[1]
OWN = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
FILES = yaml.safe_load((ROOT / "profiles" / "sib200.yaml").read_text("utf-8"))
ABSENT = object()

Keys = tuple[str | int, ...]
Report = Callable[..., list[str]]


def _changed(params: Any, changes: dict[Keys, Any]) -> Any:
    params = copy.deepcopy(params)
    for (*above, last), value in changes.items():
        inner = params
        for key in above:
            inner = inner[key]
        if value is ABSENT:
            del inner[last]
        else:
            inner[last] = value
    return params


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Write a file with changed keys and return the lines of its report, [] if it is valid."""
    monkeypatch.chdir(tmp_path)

    def run(changes: dict[Keys, Any], params: Any = OWN) -> list[str]:
        path = Path("params.yaml")
        # Without YAML's aliases a change of one place stays one: deepcopy keeps shared parts shared.
        text = yaml.safe_dump(_changed(_unshared(params), changes), sort_keys=False, allow_unicode=True)
        path.write_text(text, "utf-8")
        try:
            assert isinstance(load_params(path), Params)
        except ParamsError as error:
            return str(error).splitlines()
        return []

    return run


def test_clusters_are_no_more_than_the_rows_they_are_fitted_on(report: Report) -> None:
    told = "fit_rows is 5, but clusters is 30: so many rows are needed. Raise fit_rows."
    assert any(told in line for line in report({("cluster", "fit_rows"): 5}))
    dense = {"kind": "hdbscan", "smallest": 30, "fit_rows": 29}
    assert any("fit_rows is 29, but smallest is 30" in line for line in report({("cluster",): dense}))


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text("utf-8")
    (tmp_path / "params.yaml").write_text(f"{text}\nembed: {{prefix: '', batch_rows: 1, centred: true}}\n", "utf-8")
    with pytest.raises(ParamsError, match=r"embed stands there twice(.|\n)*line \d+"):
        load_params(tmp_path / "params.yaml")


def test_keys_that_only_look_alike_stand_there_once(tmp_path: Path) -> None:
    """A merged mapping's keys may be overridden, wherever its anchor stands; a number is no text."""
    text = "deep: {own: &own {<<: {a: 1, b: 2}, a: 3}}\nfirst: {<<: *own, b: 4}\nkinds: {1: x, '1': y}\n"
    (tmp_path / "any.yaml").write_text(text, "utf-8")
    assert read_yaml(tmp_path / "any.yaml") == {
        "deep": {"own": {"a": 3, "b": 2}},
        "first": {"a": 3, "b": 4},
        "kinds": {1: "x", "1": "y"},
    }


def _unshared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def test_the_projects_own_file_is_valid_and_frozen(report: Report) -> None:
    assert report({}) == []
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.sample.budget = 3  # type: ignore[misc]


def test_five_faults_are_five_lines(report: Report) -> None:
    lines = report(
        {
            ("sample", "budget"): 0,
            ("sample", "bugdet"): 3,
            ("gate",): ABSENT,
            ("train", "schedule", "learning_rate"): "fast",
            ("sample", "overrides"): {"xx": {"budget": 3}},
        }
    )
    assert sorted(lines) == sorted(
        [
            "params.yaml: sample.budget must be greater than or equal to 1; got 0. "
            "Set the auxiliary rows to draw per language, or tokens by sample.unit.",
            "params.yaml: sample.bugdet is not a known key. Did you mean 'budget'?",
            "params.yaml: gate is missing. Write it as in the project's own params.yaml.",
            "params.yaml: train.schedule.learning_rate must be a valid number; got 'fast'. "
            "Set AdamW's peak learning rate.",
            "params.yaml: sample.overrides.xx must be one of project.languages; got 'xx'. "
            "Add it there or take it out here.",
        ]
    )


@pytest.mark.parametrize("section", Params.model_fields)
def test_a_missing_section_is_one_line(report: Report, section: str) -> None:
    (line,) = report({(section,): ABSENT})
    assert line.startswith(f"params.yaml: {section} is missing. ")


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        # out of range
        (("project", "seed"), -1, "must be greater than or equal to 0; got -1. Set the seed"),
        (("ingest", "dev_share"), 1, "must be less than 1; got 1. Set the share of the test rows"),
        (("ingest", "near_duplicates"), 1.5, "must be less than or equal to 1; got 1.5. Set the similarity"),
        (("train", "schedule", "warmup_share"), -0.1, "must be greater than or equal to 0; got -0.1. Set the share"),
        (("update", "interpolations"), [], "must have at least 1 item after validation, not 0; got []. List the steps"),
        # not finite
        (("train", "schedule", "learning_rate"), math.nan, "must be a finite number; got nan. Set AdamW's peak"),
        (("update", "ewc_strength"), math.inf, "must be a finite number; got inf. Set lambda"),
        (("gate", "margin"), -math.inf, "must be a finite number; got -inf. Set the loss"),
        # of another type
        (("sample", "budget"), "600", "must be a valid integer; got '600'. Write 600 without quotes"),
        (("sample", "budget"), 600.5, "must be a valid integer; got 600.5. Set the auxiliary rows"),
        (("sample", "budget"), True, "must be a valid integer; got True. Set the auxiliary rows"),
        (("train", "schedule", "learning_rate"), "1e-4", "must be a valid number; got '1e-4'. Write 0.0001 with"),
        (("traffic", "until"), 2, "must be a valid string; got 2. Name the last window to look at, in quotes"),
        (("ingest", "keep_translations"), "no", "must be a valid boolean; got 'no'. Say true only if"),
        (("base", "separator"), None, "must be a valid string; got None. Give the text between"),
        (("embed",), "x", "must hold keys; got 'x'. Write it as"),
        (("sample",), None, "must hold keys; got None. Write it as"),
        # of no known value
        (("sample", "strategy"), "compas", "must be 'own_only', 'random', 'all', 'langsim', 'langrank', 'compass', "),
        (("traffic", "origin", "kind"), "simulate", "must be one of 'none', 'log', 'simulated'; got 'simulate'. Did"),
        (("traffic", "origin", "kind"), ABSENT, "is missing. Choose kind: simulated, log or none."),
        (("traffic", "until"), "2", "must match pattern '^[0-9]{4}$'; got '2'. Name the last window"),
        (
            ("registry", "uri"),
            "mlruns/mlflow.db",
            "must be the path of an SQLite file, without ? and %, or the address",
        ),
        (("registry", "uri"), "sqlite:///", "must be the path of an SQLite file, "),
        (("registry", "uri"), "sqlite:///a?timeout=5", "must be the path of an SQLite file, "),
        (
            ("registry", "uri"),
            "postgres://ann:secret@db/mlflow",
            "must be the path of an SQLite file, without ? and %, or the address of a database or server; "
            "got 'postgres://***@db/mlflow'. Give MLflow's URI, such as sqlite:///mlruns/mlflow.db",
        ),
        (("registry", "experiment"), "", "must be of letters a to z, digits, '-', '_' and '.', 100 at most; got ''."),
        (("registry", "experiment"), "a b", "must be of letters a to z, "),
        # one key against another
        (("base", "model", "shape", "heads"), 3, ""),
        (("drift", "permutations"), 5, ""),
    ],
)
def test_a_wrong_value(report: Report, keys: Keys, value: Any, said: str) -> None:
    (line,) = report({keys: value})
    if said:
        assert line.startswith(f"params.yaml: {'.'.join(map(str, keys))} {said}")
    else:
        assert line.startswith(f"params.yaml: {'.'.join(map(str, keys[:-1]))} must have ")
        assert line.endswith(" Change one of them.")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("modle",), "modle is not a known key. Known keys: base, cluster, drift, "),
        (("sampel",), "sampel is not a known key. Did you mean 'sample'?"),
        (("base", "model", "shape", "hedas"), "base.model.shape.hedas is not a known key. Did you mean 'heads'?"),
        (("train", "schedule", "epoch"), "train.schedule.epoch is not a known key. Did you mean 'epochs'?"),
        (("ingest", "sources", 0, "tset_rows"), "ingest.sources.0.tset_rows is not a known key. Did you mean 'test_"),
        (("traffic", "origin", "window"), "traffic.origin.window is not a known key. Did you mean 'windows'?"),
    ],
)
def test_an_unknown_key_names_a_close_one_of_its_place(report: Report, keys: Keys, said: str) -> None:
    (line,) = report({keys: 1})
    assert line.startswith(f"params.yaml: {said}")


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("files",), [], "files must have at least 1 item after validation, not 0; got []. List paths or globs"),
        (("mapping", "wehre"), {}, "mapping.wehre is not a known key. Did you mean 'where'?"),
        (("mapping", "fields", "promt"), "text", "mapping.fields.promt must be 'id', "),
        (("mapping", "fields", "topic"), 3, "mapping.fields.topic must be a field's name, a list of names, "),
        (("mapping", "fields", "topic"), {"field": "a"}, "mapping.fields.topic must be a field's name, a list of "),
        (("mapping", "fields", "topic"), {"field": "a", "value": {}}, "mapping.fields.topic must be a field's name, "),
        (
            ("mapping", "fields", "topic"),
            {"field": "a", "values": {"b": False}},
            "mapping.fields.topic.values.b must be text or a number: quote words like no, off and null; got False.",
        ),
        (
            ("mapping", "fields", "prompt"),
            {"template": "x", "templat": "y"},
            "mapping.fields.prompt.templat is not a known key. Did you mean 'template'?",
        ),
        (("mapping", "fields", "choices"), ["a", 3], "mapping.fields.choices.1 must be a valid string; got 3."),
        (("mapping", "constants", "topic"), None, "mapping.constants.topic must be text or a number: quote words"),
        (("mapping", "constants", "choices"), ["A", None], "mapping.constants.choices must be text or a number: quo"),
        (("name",), "ntrex128", ""),
    ],
)
def test_faults_of_a_source_are_found_in_it(report: Report, keys: Keys, value: Any, said: str) -> None:
    """The name of the chosen variant, here files, is no key of the file, although one of its keys has that name."""
    (line,) = report({("ingest", "sources", 1, *keys): value}, FILES)
    if said:
        assert line.startswith(f"params.yaml: ingest.sources.1.{said}")
    else:
        assert line.startswith("params.yaml: ingest must give each source a name of its own; got ")
        assert "ntrex128, sib200 own" in line


def test_a_constant_may_be_a_list(report: Report) -> None:
    assert report({("ingest", "sources", 1, "mapping", "constants", "choices"): ["A", "B"]}, FILES) == []


@pytest.mark.parametrize(
    ("languages", "said"),
    [
        (["sw", "zh_Hant"], "project.languages.1 must be a language tag in BCP-47's own spelling, such as sw, sw-La"),
        (["SW"], "project.languages.0 must be a language tag"),
        (["swahili"], "project.languages.0 must be a language tag"),
        (["sw", ""], "project.languages.1 must be a language tag"),
        (["sw", "../x"], "project.languages.1 must be a language tag"),
        (["sw", False], "project.languages.1 must be a valid string; got False. List the target languages"),
        (["sw", "id", "sw"], "project.languages must name each language once; sw stands there more often; got ['sw',"),
        ([], "project.languages must have at least 1 item"),
    ],
)
def test_languages_are_canonical_tags_and_distinct(report: Report, languages: list[Any], said: str) -> None:
    (line,) = report({("project", "languages"): languages}, FILES)
    assert line.startswith(f"params.yaml: {said}")


@pytest.mark.parametrize("tag", ["sw", "sw-Latn", "zh-Hant-TW", "yue", "es-419", "ca-valencia", "de-1996"])
def test_canonical_tags_pass(report: Report, tag: str) -> None:
    assert report({("project", "languages"): [tag]}, FILES) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("sample", "overrides"), {"budget": 3}),
        (("ingest", "sources", 0, "own_topics"), ["weekday_shift"]),
        (("ingest", "sources", 0, "usage"), {"weekday_shift": 1.0}),
        (("traffic", "origin", "shifts"), [{"start": "0002", "topics": {"weekday_shift": 1.0}}]),
    ],
)
def test_sections_name_target_languages_only(report: Report, place: Keys, value: Any) -> None:
    first = OWN["project"]["languages"][0]
    assert report({(*place, first): value}) == []
    (line,) = report({(*place, f"{first}x"): value})
    key = ".".join(map(str, place))
    assert line == (
        f"params.yaml: {key}.{first}x must be one of project.languages; got '{first}x'. Did you mean '{first}'?"
    )


def test_disagreements_are_reported_beside_other_faults(report: Report) -> None:
    lines = report({("sample", "budget"): 0, ("sample", "overrides"): {"xx": {"budget": 0}}})
    keys = ["sample.budget", "sample.overrides.xx.budget", "sample.overrides.xx"]
    assert [line.split()[1] for line in lines] == keys


def test_traffic_is_simulated_from_worldfacts_alone(report: Report) -> None:
    (line,) = report({("traffic", "origin"): {"kind": "simulated", "windows": 3, "shifts": {}}}, FILES)
    assert line.startswith("params.yaml: traffic.origin.kind must be none or log unless a source has kind worldfacts;")


def test_a_base_made_here_takes_texts_no_longer_than_its_positions(report: Report) -> None:
    positions = OWN["base"]["model"]["shape"]["positions"]
    assert report({("base", "max_tokens"): positions}) == []
    (line,) = report({("base", "max_tokens"): positions + 1})
    assert line == (
        f"params.yaml: base must have max_tokens <= model.shape.positions ({positions}); got {positions + 1}. "
        "Change one of them."
    )


def test_long_values_are_cut(report: Report) -> None:
    (line,) = report({("sample", "strategy"): "x" * 1000})
    assert len(line) < 300
    assert "xxx..." in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"project: [", "params.yaml: is not readable YAML ("),
        (b"\xff\xfe\xfa", "params.yaml: is not readable YAML ("),
        (b"", "params.yaml: must hold one section per stage; got NoneType."),
        (b"- project\n", "params.yaml: must hold one section per stage; got list."),
        (b"{}", "params.yaml: project is missing."),
        (b"project: 3\ningest: [1]\nsample: {overrides: [x]}\ntraffic: {origin: []}", "params.yaml: project must hold"),
    ],
)
def test_a_file_that_is_no_params_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(content)
    with pytest.raises(ParamsError) as caught:
        load_params()
    assert str(caught.value).startswith(said)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml: does not exist\. Run in the project's folder"):
        load_params(tmp_path / "params.yaml")


def test_params_are_light_to_import() -> None:
    heavy = ("torch", "mlflow", "transformers", "datasets", "pandas", "evidently", "babel", "numpy")
    code = f"import sys, compass_ops.params; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
