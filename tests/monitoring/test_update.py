"""One drifted language from window to candidate, on a tiny model: what is selected, what is scored, what is left."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from compass_ops.corpus.records import to_table
from compass_ops.corpus.traits import session_numbers, text_traits
from compass_ops.errors import DataFault
from compass_ops.evaluation.candidates import CandidateChoice, choose_candidate
from compass_ops.evaluation.score import ScoreSettings
from compass_ops.evaluation.scorer import Scorer
from compass_ops.model_files import folder_entry
from compass_ops.monitoring.request_log import LogSettings
from compass_ops.monitoring.traffic import logged_traffic, with_request_columns, write_traffic
from compass_ops.monitoring.update import Drifted, Updater
from compass_ops.monitoring.windows import Embedding
from compass_ops.params import Params, load_params
from compass_ops.registry.versions import verify_version
from compass_ops.seeding import derived_seed
from compass_ops.selection.choose import Rows, choose, with_reasons
from compass_ops.selection.problem import Problem
from compass_ops.selection.vectors import vectors_file
from compass_ops.storage import read_json, read_table, write_array, write_table
from compass_ops.training.adapt import Base, Order, Reference, make_version, remember
from compass_ops.training.batches import token_costs
from compass_ops.training.method import method_of
from compass_ops.training.version import Origin
from pipelines._code import ROOT
from tests.tiny_models import save_tiny_model

CENTROIDS = np.eye(2, dtype=np.float32)
# Days and coins are clusters; stars and moons are far from both, stars a little nearer to coins, moons to days.
TOPICS = {"day": (1.0, 0.0), "coin": (0.0, 1.0), "star": (-0.8, -0.6), "moon": (-0.6, -0.8)}
CHOICES = ["one", "two", "three", "four"]


def records(role: str, language: str, topic: str, rows: int, answered: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{role}:{language}:{topic}:{n}", "language": language, "role": role,
            "prompt": f"{topic} {n} {language}?", "completion": CHOICES[n % 4] if answered else "",
            "choices": CHOICES if answered else None, "answer": n % 4 if answered else None, "topic": topic,
            "parallel_id": f"{topic}:{n}", "source": "test", "weight": 1.0,
        }
        for n in range(rows)
    ]  # fmt: skip


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([TOPICS[text.split()[0]] for text in texts], np.float32)


def save_embedder(folder: Path) -> None:
    """Save a sentence-transformers model that gives the same vectors: of topics, all other words weigh nothing."""
    vocabulary = {word: place for place, word in enumerate([*TOPICS, "[UNK]"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.array([*TOPICS.values(), (0.0, 0.0)], np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save(str(folder))


class World:
    """A project whose language sw was made for days and is now asked about coins."""

    def __init__(self, root: Path, params: Params) -> None:
        self.root = root
        self.store("auxiliary", "id", records("auxiliary", "id", "day", 20) + records("auxiliary", "id", "coin", 20))
        self.store("auxiliary", "sw", records("auxiliary", "sw", "coin", 20))
        save_tiny_model("llama", root / "base")
        save_embedder(root / "embedder")
        entry, embedder = (folder_entry(Path(name), root) for name in ("base", "embedder"))
        self.pins = {"model": entry.as_json(), "embedder": embedder.as_json()}
        scorer = Scorer(entry, root, ScoreSettings(" ", 64, 512), root / "memo")
        self.updater = Updater(
            params, self.pins, scorer, Embedding(embedder.digest, "", embed), root / "ingest", root / "embed"
        )
        self.parent = self.made("sw")

    def made(self, language: str) -> Path:
        """A language's test rows and its Production version, which was made for 40 prompts about days."""
        for role in ("dev", "gate"):
            self.store(role, language, records(role, language, "day", 12) + records(role, language, "coin", 12))
        folder, params = self.root / "production" / language, self.updater.params
        own = to_table(records("own", language, "day", 16))
        subset = with_reasons(Rows(own, np.zeros(16, np.int32)), ["own data"] * 16)
        asked = np.zeros(40, np.int32)
        model, tokenizer = self.updater.scorer.loaded
        traits, sessions = text_traits([f"day {n}?" for n in range(40)]), session_numbers([None] * 40)
        make_version(
            Base(model, tokenizer, params.base),
            Order(subset, params.train, 0, folder),
            Reference(CENTROIDS[asked], asked, CENTROIDS, {}, traits, sessions),
            Origin(
                language,
                self.pins["model"],
                {**self.pins["embedder"], "prefix": ""},
                None,
                None,
                "0" * 64,
                {"separator": " ", "max_tokens": 64},
            ),
        )
        return folder

    def store(self, role: str, language: str, rows: list[dict[str, Any]]) -> None:
        write_table(self.root / "ingest" / role / f"{language}.parquet", to_table(rows))
        write_array(vectors_file(self.root / "embed", role, language), embed([row["prompt"] for row in rows]))

    def with_method(self, **changes: Any) -> Updater:
        """The updater with other settings of the section update."""
        params = self.updater.params
        update = params.update.model_copy(update=changes)
        return replace(self.updater, params=params.model_copy(update={"update": update}))

    def window(self, rows: list[dict[str, Any]], language: str = "sw") -> Drifted:
        file = self.root / "traffic" / "0002" / f"{language}.parquet"
        write_table(file, with_request_columns(to_table(rows)))
        return Drifted(language, "0002", file, self.parent)

    def with_strategy(self, strategy: str) -> Updater:
        """The updater with another way to choose rows."""
        params = self.updater.params
        sample = params.sample.model_copy(update={"strategy": strategy})
        return replace(self.updater, params=params.model_copy(update={"sample": sample}))

    def logged(self, asked: Sequence[tuple[str, str]], *, keep_text: bool = True) -> Drifted:
        """The window 0001 of a log of (prompt, label)."""
        lines = [json.dumps({"t": n, "l": "sw", "p": prompt, "a": label}) for n, (prompt, label) in enumerate(asked)]
        (self.root / "log.jsonl").write_text("\n".join(lines), "utf-8")
        fields = {"time": "t", "language": "l", "prompt": "p", "label": "a"}
        settings = LogSettings(("log.jsonl",), fields, len(asked), None)
        traffic = logged_traffic(settings, "0001", ["sw"], self.root)
        write_traffic(traffic, self.root / "traffic", None if keep_text else self.updater.embedding)
        return Drifted("sw", "0001", self.root / "traffic" / "0001" / "sw.parquet", self.parent)


def small_params() -> Params:
    params = load_params(ROOT / "params.yaml")
    schedule = params.update.schedule.model_copy(update={"epochs": 1, "batch_rows": 4})
    train = params.train.model_copy(
        update={"lora": {"r": 2, "target_modules": ["q_proj"]}, "schedule": schedule, "anchor_min": 4, "fisher_rows": 4}
    )
    update = params.update.model_copy(update={"budget": 10, "schedule": schedule, "interpolations": [0.5, 1.0]})
    return params.model_copy(update={"train": train, "update": update})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, small_params())


def test_the_candidate_is_trained_on_what_the_window_asks_more_of(world: World, tmp_path: Path) -> None:
    world.updater.make(world.window(records("traffic", "sw", "coin", 30, answered=False)), tmp_path / "made")
    subset = read_table(tmp_path / "made" / "version" / "subset.parquet")
    assert subset.num_rows == 10
    assert set(subset.column("topic").to_pylist()) == {"coin"}
    assert set(subset.column("language").to_pylist()) == {"id"}, "the language's own pool rows are not auxiliary"
    assert read_json(tmp_path / "made" / "window.json") == {"window": "0002", "counts": [0, 30], "learned": [16, 0]}


def test_the_version_names_its_parent_and_window_and_verifies(world: World, tmp_path: Path) -> None:
    world.updater.make(world.window(records("traffic", "sw", "coin", 30, answered=False)), tmp_path / "made")
    manifest = verify_version(tmp_path / "made" / "version")
    assert manifest["parent"] == verify_version(world.parent)["digest"]
    assert manifest["window"] == "0002"
    assert manifest["digest"] != manifest["parent"]


def test_both_models_answer_the_same_items(world: World, tmp_path: Path) -> None:
    world.updater.make(world.window(records("traffic", "sw", "coin", 30, answered=False)), tmp_path / "made")
    items = read_table(tmp_path / "made" / "items.parquet").to_pandas()
    assert items.groupby(["model", "half"]).size().to_dict() == {
        (model, half): 24 for model in ("production", "candidate") for half in ("dev", "gate")
    }
    assert items[items["topic"] == "coin"]["cluster"].unique().tolist() == [1]
    assert read_json(tmp_path / "made" / "choice.json")["alpha"] in (0.5, 1.0)
    assert not (tmp_path / "made" / "candidates").exists()


def told(folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Each row of the subset as (prompt, reason), and the plan's notes."""
    subset = read_table(folder / "version" / "subset.parquet")
    rows = zip(subset["prompt"].to_pylist(), subset["reason"].to_pylist(), strict=True)
    return list(rows), read_json(folder / "plan.json")["notes"]


def coins(labelled: int, rows: int = 30) -> list[tuple[str, str]]:
    """Prompts and labels of a log, none of which stands in dev or gate."""
    return [(f"coin {n} asked?", "two" if n < labelled else "") for n in range(rows)]


def test_labelled_feedback_is_learned_within_the_budget(world: World, tmp_path: Path) -> None:
    world.updater.make(world.logged(coins(2)), tmp_path / "made")
    rows, notes = told(tmp_path / "made")
    assert [prompt for prompt, reason in rows if reason == "feedback"] == ["coin 0 asked?", "coin 1 asked?"]
    assert len(rows) == 10
    assert notes[0] == "2 labelled rows take 2 of the update's budget of 10 rows; the pool gives the rest."


def test_feedback_beyond_the_budget_is_drawn_at_random_and_leaves_the_pool_nothing(
    world: World, tmp_path: Path
) -> None:
    world.updater.make(world.logged(coins(30)), tmp_path / "made")
    rows, notes = told(tmp_path / "made")
    assert [reason for _, reason in rows] == ["feedback"] * 10
    assert [prompt for prompt, _ in rows] != [prompt for prompt, _ in coins(10, 10)]
    assert len(notes) == 1, "not that what is asked is covered"
    assert notes[0].startswith("10 of 30 labelled rows, drawn at random, take 10 of the update's budget of 10 rows")


def test_a_pool_that_holds_less_than_it_is_to_give_is_noted_with_both_numbers(world: World, tmp_path: Path) -> None:
    world.store("auxiliary", "id", records("auxiliary", "id", "coin", 5))
    world.updater.make(world.logged(coins(2)), tmp_path / "made")
    rows, notes = told(tmp_path / "made")
    assert len(rows) == 7
    short = "The pool is to give 8 of the update's budget of 10 rows, but holds 5: no more is asked of it."
    assert notes.count(short) == 1


@pytest.mark.parametrize("labelled", [2, 30])
def test_a_budget_in_tokens_holds_feedback_too(world: World, tmp_path: Path, labelled: int) -> None:
    params, budget = world.updater.params, 150
    sample = params.sample.model_copy(update={"unit": "tokens"})
    update = params.update.model_copy(update={"budget": budget})
    updater = replace(world.updater, params=params.model_copy(update={"sample": sample, "update": update}))
    updater.make(world.logged(coins(labelled)), tmp_path / "made")
    subset = read_table(tmp_path / "made" / "version" / "subset.parquet")
    spent = token_costs(world.updater.scorer.loaded[1], " ", params.base.max_tokens)(subset)
    assert budget - spent.max() < spent.sum() <= budget
    feedback = subset["reason"].to_pylist().count("feedback")
    assert feedback == 2 if labelled == 2 else feedback == subset.num_rows


def test_feedback_that_the_tests_hold_is_not_trained_on(world: World, tmp_path: Path) -> None:
    """Dev and gate hold coins 0 to 11, the target coin 13, nearly word for word."""
    world.store("target", "sw", records("target", "sw", "coin", 14, answered=False)[13:])
    asked = [(f"coin {n},  SW!", "two") for n in range(15)] + coins(0, 15)
    world.updater.make(world.logged(asked), tmp_path / "made")
    rows, notes = told(tmp_path / "made")
    assert [prompt for prompt, reason in rows if reason == "feedback"] == ["coin 12,  SW!", "coin 14,  SW!"]
    assert notes[0] == "13 labelled rows of the window match target or test rows and are not trained on."


def test_near_duplicates_of_the_tests_go_as_in_ingest(world: World, tmp_path: Path) -> None:
    prompt = "coin worth how many shillings at the market in Mombasa"
    world.store(
        "gate", "sw", [*records("gate", "sw", "day", 12), records("gate", "sw", "coin", 1)[0] | {"prompt": prompt}]
    )
    asked = [(f"{prompt} now", "two"), *coins(1, 29)]
    params = world.updater.params
    for share, kept in ((None, 2), (0.8, 1)):
        ingest = params.ingest.model_copy(update={"near_duplicates": share})
        updater = replace(world.updater, params=params.model_copy(update={"ingest": ingest}))
        updater.make(world.logged(asked), tmp_path / f"made {share}")
        assert [reason for _, reason in told(tmp_path / f"made {share}")[0]].count("feedback") == kept


def test_a_window_that_the_pool_cannot_serve_is_a_fault_of_the_language(world: World, tmp_path: Path) -> None:
    world.store("auxiliary", "id", records("auxiliary", "id", "day", 20))
    with pytest.raises(DataFault, match="the pool has no row in the clusters that the window asks more of"):
        world.updater.make(world.logged(coins(0)), tmp_path / "made")


def test_feedback_alone_is_enough(world: World, tmp_path: Path) -> None:
    world.store("auxiliary", "id", records("auxiliary", "id", "day", 20))
    world.updater.make(world.logged(coins(4)), tmp_path / "made")
    assert [reason for _, reason in told(tmp_path / "made")[0]] == ["feedback"] * 4


COINS = records("traffic", "sw", "coin", 30, answered=False)


def test_a_full_retraining_takes_all_rows_so_far_from_the_base(world: World, tmp_path: Path) -> None:
    world.with_method(method="full_retrain").make(world.window(COINS), tmp_path / "made")
    subset = read_table(tmp_path / "made" / "version" / "subset.parquet")
    assert subset.column("topic").to_pylist() == ["day"] * 16 + ["coin"] * 10
    assert read_json(tmp_path / "made" / "choice.json")["alpha"] == 1.0, "there is no path between the two"
    assert verify_version(tmp_path / "made" / "version")["parent"] == verify_version(world.parent)["digest"]


def test_a_full_retraining_of_an_updated_version_is_refused(world: World, tmp_path: Path) -> None:
    world.updater.make(world.window(COINS), tmp_path / "made")
    world.parent = tmp_path / "made" / "version"
    with pytest.raises(DataFault, match="was trained on 26 rows in all and holds 10 of them"):
        world.with_method(method="full_retrain").make(world.window(COINS), tmp_path / "again")


def test_a_parent_that_does_not_say_what_its_anchors_stand_for_is_a_fault_of_the_language(
    world: World, tmp_path: Path
) -> None:
    anchors = read_table(world.parent / "anchors.parquet")
    write_table(world.parent / "anchors.parquet", anchors.drop_columns("stands_for"))
    with pytest.raises(DataFault, match="Train this language's adapter anew and register it"):
        world.updater.make(world.window(COINS), tmp_path / "made")


@pytest.mark.parametrize("half", ["dev", "gate"])
def test_a_language_without_test_rows_is_a_fault_of_the_language(world: World, tmp_path: Path, half: str) -> None:
    (tmp_path / "ingest" / half / "sw.parquet").unlink()
    with pytest.raises(DataFault, match=rf"has no {half} rows.*role test.*ingest\.sources"):
        world.updater.make(world.window(COINS), tmp_path / "made")
    assert not (tmp_path / "made").exists(), "nothing was trained"


def test_a_pool_of_the_language_alone_is_a_fault_of_the_language(world: World, tmp_path: Path) -> None:
    (tmp_path / "ingest" / "auxiliary" / "id.parquet").unlink()
    with pytest.raises(DataFault, match="the pool holds no other language"):
        world.updater.make(world.window(COINS), tmp_path / "made")


def test_old_is_all_that_the_parent_was_trained_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.updater.make(world.window(COINS), tmp_path / "made")
    world.parent = tmp_path / "made" / "version"
    seen: list[list[int]] = []

    def noted(dev: Any, old: NDArray[np.int64], new: NDArray[np.int64], margin: float) -> CandidateChoice:
        seen.append(old.tolist())
        return choose_candidate(dev, old, new, margin)

    monkeypatch.setattr("compass_ops.monitoring.update.choose_candidate", noted)
    world.updater.make(world.window(COINS), tmp_path / "again")
    assert seen == [[16, 10]], "16 days at first, then 10 coins"


def test_what_the_parent_was_trained_on_is_held_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[list[int]] = []

    def noted(settings: Any, problem: Problem, *rest: Any) -> Any:
        held.append(np.bincount(problem.own.clusters, minlength=2).tolist())
        return choose(settings, problem, *rest)

    monkeypatch.setattr("compass_ops.monitoring.update.choose", noted)
    world.updater.make(world.window(COINS), tmp_path / "made")
    world.parent = tmp_path / "made" / "version"
    world.updater.make(world.window(COINS), tmp_path / "again")
    assert held == [[16, 0], [16, 10]], "not the anchors beside their own rows, nor each as one row"


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_memory_is_that_of_the_candidate(world: World, tmp_path: Path, alpha: float) -> None:
    world.with_method(interpolations=[alpha]).make(world.window(COINS), tmp_path / "made")
    version = tmp_path / "made" / "version"
    kept = load_file(version / "fisher.safetensors")
    params = world.updater.params
    model, tokenizer = world.updater.scorer.loaded
    train = params.train.model_copy(update={"schedule": params.update.schedule})
    seed = derived_seed(params.project.seed, "update", "sw", "0002")
    order = Order(read_table(version / "subset.parquet"), train, seed, version)
    remember(Base(model, tokenizer, params.base), world.parent, order, method_of(params.update))
    again = load_file(version / "fisher.safetensors")
    assert all(torch.allclose(kept[name], again[name]) for name in kept)


def test_a_window_without_text_is_updated_for_too(world: World, tmp_path: Path) -> None:
    world.updater.make(world.logged(coins(30), keep_text=False), tmp_path / "made")
    subset = read_table(tmp_path / "made" / "version" / "subset.parquet")
    assert subset.column("topic").to_pylist() == ["coin"] * 10, "no text, no feedback: the pool gives the rows"


def test_a_strategy_that_compares_texts_is_refused_without_them(world: World, tmp_path: Path) -> None:
    dsir = world.with_strategy("dsir")
    dsir.make(world.logged(coins(0)), tmp_path / "with")
    assert read_table(tmp_path / "with" / "version" / "subset.parquet").num_rows == 10
    with pytest.raises(DataFault, match=r"dsir compares texts.*traffic\.keep_text.*sample\.strategy"):
        dsir.make(world.logged(coins(0), keep_text=False), tmp_path / "without")
