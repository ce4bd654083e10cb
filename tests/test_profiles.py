"""The profiles: valid, the ones on ../shared/data read a slice of it, the hub's are tried on rows of their layout."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from compass_ops.errors import ParamsError
from compass_ops.params import load_params
from compass_ops.storage import read_json, read_table
from pipelines.ingest import main as ingest

ROOT = Path(__file__).parents[1]
PROFILES = sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml"))
HUB = ("llama-3.1-8b", "phi-4-mini", "qwen2.5-7b")
LOCAL = ("masakhanews", "sib200")
IN_WORKSPACE = "../../../shared/data/"  # from workspaces/<profile>
SHARED = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there: the profiles on it are not run")

BESIDE = "en-Latn"  # in every profile's pool and pretraining
OWN_TOPICS = {
    ("sib200", "sw-Latn"): {"science/technology", "travel", "politics"},
    ("sib200", "th-Thai"): {"sports", "health", "entertainment", "geography"},
    ("masakhanews", "sw-Latn"): {"business", "politics", "religion", "sports"},
    ("masakhanews", "xh-Latn"): {"entertainment", "sports"},
    ("masakhanews", "yo-Latn"): {"health", "politics"},
}
SLICES = {profile: sorted(tag for own, tag in OWN_TOPICS if own == profile) for profile in LOCAL}


def _raw(profile: str) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text("utf-8"))
    return value


@cache
def _rows_in(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_the_profiles_are_these() -> None:
    assert sorted(HUB + LOCAL) == PROFILES


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_a_valid_params_file(profile: str) -> None:
    params = load_params(ROOT / "profiles" / f"{profile}.yaml")
    assert params.registry.experiment == profile
    assert params.traffic.origin.kind == "none"


@pytest.mark.parametrize("profile", HUB)
def test_the_pins_of_a_hub_profile_are_checked(profile: str, tmp_path: Path) -> None:
    """A branch, or no revision, is refused by name for each of the five repositories that are downloaded."""
    raw = _raw(profile)
    pins = [raw["base"]["model"], raw["base"]["embedder"], *raw["ingest"]["sources"]]
    for pin in pins:
        pin["revision"] = "main"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw), "utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    expected = "must match pattern '^[0-9a-f]{40}$'; got 'main'. Pin the commit: 40 hex digits, not a branch"
    places = ["ingest.sources.0", "ingest.sources.1", "ingest.sources.2", "base.model", "base.embedder"]
    lines = str(caught.value).splitlines()
    assert [line.partition(expected)[:2] for line in lines] == [
        (f"{path}: {place}.revision ", expected) for place in places
    ]
    for pin in pins:
        pin["revision"] = "0123456789abcdef" * 2 + "01234567"
    path.write_text(yaml.safe_dump(raw), "utf-8")
    load_params(path)


def test_the_hub_profiles_differ_in_the_model_and_its_training_alone() -> None:
    raws = {profile: _raw(profile) for profile in HUB}
    for raw in raws.values():
        assert raw["base"].pop("model")["kind"] == "hub"
        del raw["train"]["lora"], raw["registry"]["experiment"]
        for stage in ("train", "update"):
            schedule = raw[stage]["schedule"]
            del schedule["learning_rate"]
            assert schedule["batch_rows"] * schedule["accumulation"] == 32
    first, *others = raws.values()
    assert others == [first] * len(others)


# On real data


@needs_shared
@pytest.mark.parametrize("profile", LOCAL)
def test_every_file_and_language_of_a_profile_is_there(profile: str) -> None:
    with (SHARED / "counts.tsv").open(encoding="utf-8", newline="") as table:
        there = {(row["dataset"], row["lang"], row["split"]) for row in csv.DictReader(table, delimiter="\t")}
    for source in _raw(profile)["ingest"]["sources"]:
        for pattern in source["files"]:
            assert pattern.startswith(IN_WORKSPACE)
            dataset, name = pattern.removeprefix(IN_WORKSPACE).split("/")
            language, split, *_ = name.split(".")
            assert language == "*"
            wanted = source["mapping"]["where"]["lang"]
            assert Counter(wanted).most_common(1)[0][1] == 1
            assert {(dataset, tag, split) for tag in wanted} <= there


@pytest.fixture
def run_ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Path]:
    """Run the stage in a folder of its own on params, and return its output."""

    def run(raw: dict[str, Any]) -> Path:
        monkeypatch.chdir(tmp_path)
        Path("params.yaml").write_text(yaml.safe_dump(raw), "utf-8")
        ingest(["--out", "build/ingest"], standalone_mode=False)
        return tmp_path / "build" / "ingest"

    return run


def sliced(profile: str) -> dict[str, Any]:
    """The profile for a few of its languages, read from their files alone."""
    raw = _raw(profile)
    raw["project"]["languages"] = SLICES[profile]
    for source in raw["ingest"]["sources"]:
        kept = [tag for tag in source["mapping"]["where"]["lang"] if tag in SLICES[profile] or tag == BESIDE]
        source["files"] = [
            str(SHARED / pattern.removeprefix(IN_WORKSPACE).replace("*", tag))
            for pattern in source["files"]
            for tag in kept
        ]
    return raw


@needs_shared
@pytest.mark.parametrize("profile", LOCAL)
def test_a_profile_reads_a_slice_of_the_real_data(profile: str, run_ingest: Callable[[dict[str, Any]], Path]) -> None:
    out = run_ingest(sliced(profile))
    summary = read_json(out / "summary.json")
    assert summary["rows"]["rejected"] == 0
    assert summary["rows"]["removed"] <= 0.005 * summary["rows"]["kept"]
    for language in SLICES[profile]:
        tables = {role: read_table(out / role / f"{language}.parquet") for role in ("target", "own", "dev", "gate")}
        files = {
            split: _rows_in(SHARED / profile / f"{language}.{split}.jsonl.gz") for split in ("train", "dev", "test")
        }
        assert tables["target"].num_rows == len(files["dev"])
        assert tables["dev"].num_rows + tables["gate"].num_rows == len(files["test"])
        assert tables["gate"].num_rows >= _raw(profile)["gate"]["least_items"]
        own = [row for row in files["train"] if row["topic"] in OWN_TOPICS[profile, language]]
        assert 0 <= len(own) - tables["own"].num_rows <= 3  # near duplicates of a test row
        assert set(tables["own"]["topic"].to_pylist()) == OWN_TOPICS[profile, language]
        assert set(files["train"][0]["choices"]) > OWN_TOPICS[profile, language]  # the pool has what own lacks
        by_id = {row["id"]: row for row in files["test"]}
        for item in tables["gate"].slice(0, 20).to_pylist():
            raw = by_id[item["id"]]
            assert item["choices"] == raw["choices"]
            assert item["answer"] == raw["answer"]
            _check_prompt(profile, item, raw)
    assert (out / "auxiliary" / f"{BESIDE}.parquet").is_file()
    assert (out / "pretrain" / f"{BESIDE}.parquet").is_file()


def _check_prompt(profile: str, item: dict[str, Any], raw: dict[str, Any]) -> None:
    if profile == "sib200":
        assert item["prompt"] == f"{raw['prompt']}\nTopic:"
        assert item["parallel_id"] == "sib200:" + raw["id"].split(":")[-1]
        return
    assert len(item["prompt"]) <= 400
    assert raw["prompt"].startswith(item["prompt"])
    rest = raw["prompt"][len(item["prompt"]) :]
    assert rest[:1].isspace() or not rest  # cut between words
    assert item["prompt"].startswith(raw["prompt"].split("\n\n")[0][:300])  # with its headline


# Rows in the layout of the hub's data sets

AYA = ("inputs", "targets", "language", "language_code", "annotation_type", "user_id")
AYA_ROWS = [  # (language, code, rows), as the card has them
    ("Amharic", "amh", 2),
    ("Hausa", "hau", 2),
    ("Igbo", "ibo", 2),
    ("Indonesian", "ind", 2),
    ("Swahili", "swh", 3),
    ("Telugu", "tel", 2),
    ("Turkish", "tur", 2),
    ("Yoruba", "yor", 2),
    ("English", "eng", 4),
    ("Malay", "zsm", 2),
    ("Moroccan Arabic", "ary", 2),
]
MMLU = ("am", "ha", "id", "ig", "sw", "te", "tr", "yo")


def _write(rows: list[dict[str, Any]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)


def _aya_row(language: str, code: str, number: int) -> dict[str, Any]:
    text = f"{language} question {number}: {'abcdefghij'[number] * 9}?"
    return dict(zip(AYA, (text, f"answer {number}", language, code, "original-annotations", "9f8e"), strict=True))


def _mmlu_row(language: str, split: str, number: int) -> dict[str, Any]:
    subject = "abstract_algebra" if number % 2 else "world_religions"
    return {
        "sample_id": f"{subject}/{split}/{number}",
        "subject": subject,
        "subject_category": "STEM" if number % 2 else "Humanities",
        "question": f"{split} {language} {number} {'klmnopqrst'[number] * 20}?",
        **{f"option_{letter}": f"{letter}{number}{language}" for letter in "abcd"},
        "answer": "ABCD"[number % 4],
        "required_knowledge": "['none']",
        "time_sensitive": "-",
        "reference": "-",
        "culture": "[]",
        "region": "[]",
        "country": "[]",
        "cultural_sensitivity_label": "-",
        "is_annotated": split == "test",
    }


@pytest.fixture
def hub_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders named as the repositories, with cards that name their configurations and splits."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    aya = tmp_path / "CohereLabs" / "aya_dataset"
    rows = [_aya_row(language, code, number) for language, code, count in AYA_ROWS for number in range(count)]
    rows.append(_aya_row("Klingon", "tlh-klingon", 0))
    _write(rows, aya / "data" / "train-00000-of-00001.parquet")
    _write([_aya_row("English", "eng", 9)], aya / "data" / "test-00000-of-00001.parquet")
    _write([{"user_id": "9f8e", "country": "NL"}], aya / "demographics" / "train-00000-of-00001.parquet")
    configs: list[dict[str, Any]] = [
        {"config_name": "default", "data_files": [{"split": s, "path": f"data/{s}-*"} for s in ("train", "test")]},
        {"config_name": "demographics", "data_files": [{"split": "train", "path": "demographics/train-*"}]},
    ]
    (aya / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    mmlu = tmp_path / "CohereLabs" / "Global-MMLU"
    for language in MMLU:
        for split, count in (("dev", 3), ("test", 10)):
            file = mmlu / language / f"{split}-00000-of-00001.parquet"
            _write([_mmlu_row(language, split, number) for number in range(count)], file)
    configs = [
        {"config_name": tag, "data_files": [{"split": s, "path": f"{tag}/{s}-*"} for s in ("dev", "test")]}
        for tag in MMLU
    ]
    (mmlu / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")


@pytest.mark.usefixtures("hub_folders")
def test_a_hub_profile_maps_ayas_and_global_mmlus_columns(run_ingest: Callable[[dict[str, Any]], Path]) -> None:
    raw = _raw("qwen2.5-7b")  # the three have one section ingest; see above
    for source in raw["ingest"]["sources"]:
        source["revision"] = None  # a folder of that name is read instead
    out = run_ingest(raw)

    standing = read_json(out / "languages.json")
    assert {language: one["status"] for language, one in standing.items()} == dict.fromkeys(MMLU, "ok")
    own = {"am": 2, "ha": 2, "id": 2, "ig": 2, "sw": 3, "te": 2, "tr": 2, "yo": 2}
    assert _counts(out / "own") == own
    assert _counts(out / "auxiliary") == own | {"en": 4, "ms": 2, "ary": 2}
    assert _counts(out / "target") == dict.fromkeys(MMLU, 3)
    assert not (out / "pretrain").exists()
    summary = read_json(out / "summary.json")
    assert summary["rows"]["removed"] == 0
    (reject,) = read_table(out / "rejects.parquet").to_pylist()
    assert (reject["role"], reject["kind"]) == ("auxiliary", "invalid")
    assert "tlh-klingon" in reject["reason"]

    row = read_table(out / "own" / "sw.parquet").to_pylist()[0]
    assert (row["topic"], row["choices"], row["answer"]) == ("original-annotations", None, None)
    pairs = {(row["prompt"], row["completion"]) for row in read_table(out / "own" / "sw.parquet").to_pylist()}
    assert pairs == {(_aya_row("Swahili", "swh", n)["inputs"], f"answer {n}") for n in range(3)}

    items = [row for role in ("dev", "gate") for row in read_table(out / role / "sw.parquet").to_pylist()]
    assert {item["id"] for item in items} == {f"sw:{_mmlu_row('sw', 'test', n)['sample_id']}" for n in range(10)}
    for item in items:
        number = int(item["id"].split("/")[-1])
        source = _mmlu_row("sw", "test", number)
        assert item["prompt"] == (
            f"{source['question']}\nA. a{number}sw\nB. b{number}sw\nC. c{number}sw\nD. d{number}sw\nAnswer:"
        )
        assert item["choices"] == ["A", "B", "C", "D"]
        assert (item["answer"], item["completion"]) == (number % 4, source["answer"])
        assert (item["topic"], item["parallel_id"]) == (source["subject"], source["sample_id"])
    divided = {tag: read_table(out / "dev" / f"{tag}.parquet")["parallel_id"].to_pylist() for tag in MMLU}
    assert all(sorted(ids) == sorted(divided["sw"]) for ids in divided.values())


def _counts(folder: Path) -> dict[str, int]:
    return {file.stem: read_table(file).num_rows for file in folder.glob("*.parquet")}


def test_the_hub_profiles_ask_as_lm_evaluation_harness_does() -> None:
    found = find_spec("lm_eval")
    if found is None or found.origin is None:
        pytest.skip("lm-eval is not installed: pip install -e '.[dev]'")
    task = Path(found.origin).parent / "tasks" / "global_mmlu" / "full" / "sw" / "_sw_template_yaml"
    theirs = yaml.safe_load(task.read_text("utf-8"))
    raw = _raw("qwen2.5-7b")
    mapping = raw["ingest"]["sources"][2]["mapping"]
    prompt = theirs["doc_to_text"].replace("question.strip()", "question").replace("{{", "{").replace("}}", "}")
    assert mapping["fields"]["prompt"]["template"] == prompt
    assert mapping["constants"]["choices"] == theirs["doc_to_choice"]
    assert (theirs["test_split"], theirs["fewshot_split"]) == ("test", "dev")
    assert raw["base"]["separator"] == theirs.get("target_delimiter", " ")
