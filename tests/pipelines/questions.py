"""Data so simple that a model of a few thousand weights learns them: the topic of a question decides its answer.

The base has seen the answers of one topic, and lies about the others. So who asks of that topic has nothing to gain
from an adapter, and who asks of the others has everything.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

TOPICS = {"radio": "music", "hotel": "sleep", "taxi": "ride", "bank": "money"}
KNOWN = "taxi"
ASKING = {"ca": "quin", "sw": "gani", "tr": "kaç", "es": "cual", "id": "mana", "pt": "qual"}
TARGETS = ("ca", "sw", "tr")
POOL = ("es", "id", "pt")
OWN = {"ca": "radio", "sw": "taxi", "tr": "hotel"}
ASKED = {"ca": {"radio": 0.3, "hotel": 0.7}, "sw": {"taxi": 1.0}, "tr": {"radio": 0.7, "hotel": 0.3}}
SHIFTED = {"ca": {"bank": 1.0}}
WINDOW, WINDOWS, SHIFT = 100, 3, 2
_SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "su")
_SIZES = {"target": 120, "own": 40, "test": 240, "auxiliary": 240, "pretrain": 120}
_COLUMNS = ("language", "role", "prompt", "completion", "choices", "answer", "topic", "parallel_id")

Row = dict[str, Any]


def small(params: dict[str, Any]) -> None:
    """Change the repository's params to those of a project on these data."""
    mapping = {"fields": {name: name for name in _COLUMNS}, "constants": {}, "where": {}}
    source = {"kind": "files", "name": "questions", "files": ["data/records.jsonl"], "mapping": mapping}
    params["project"]["languages"] = list(TARGETS)
    params["ingest"] |= {"sources": [source], "keep_translations": False, "near_duplicates": None}
    base = params["base"]
    base["model"] = {
        "kind": "pretrained",
        "shape": {"vocabulary": 400, "width": 48, "feedforward": 96, "layers": 2, "heads": 4, "positions": 64},
        "schedule": schedule(epochs=8, batch_rows=16, learning_rate=0.004, checkpoint_steps=200),
        "instruction_tuning": None,
    }
    base |= {"embedder": {"kind": "trained", "vocabulary": 400, "dimension": 32, "epochs": 2}, "max_tokens": 64}
    params["cluster"] = {"kind": "kmeans", "clusters": 6, "fit_rows": 2000}
    params["sample"] |= {"strategy": "compass", "budget": 60, "overrides": {}}
    training = schedule(epochs=6, batch_rows=8, learning_rate=0.01, checkpoint_steps=10)
    params["train"] |= {"schedule": training, "fisher_rows": 8, "anchor_min": 16}
    params["train"]["lora"] |= {"r": 4, "lora_alpha": 8}
    params["gate"]["margin"] = 0.1  # so few items resolve no less, however alike the answers
    params["traffic"] = {
        "until": f"{SHIFT:04}",
        "window_rows": WINDOW,
        "keep_text": True,
        "origin": {
            "kind": "log",
            "files": ["data/log.jsonl"],
            "window_hours": None,
            "fields": {name: name for name in ("time", "language", "prompt")},
        },
    }
    params["drift"] |= {"permutations": 99, "minimum_window": 60, "minimum_reference": 60}
    params["drift"]["harm"] |= {"required": True, "least_items": 10}
    params["update"] |= {"budget": 60, "schedule": dict(training), "interpolations": [0.5, 1.0]}


def schedule(epochs: int, batch_rows: int, learning_rate: float, checkpoint_steps: int) -> dict[str, Any]:
    """Return a training schedule as params have it."""
    return {
        "epochs": epochs,
        "batch_rows": batch_rows,
        "accumulation": 1,
        "learning_rate": learning_rate,
        "warmup_share": 0.1,
        "weight_decay": 0.0,
        "checkpoint_steps": checkpoint_steps,
    }


def write_data(folder: Path, seed: int = 0) -> None:
    """Write ``records.jsonl`` (fields as a record's columns) and ``log.jsonl``."""
    rng, words = np.random.default_rng(seed), _words()
    rows = [row for role in _SIZES for row in _records(role, words, rng)]
    write_lines(folder / "records.jsonl", rows)
    write_lines(folder / "log.jsonl", _log(words))


def write_lines(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def _words() -> Iterator[str]:
    """Yield words that never come again, so that no question is asked twice.

    Not one after the other: words that change with time would be a drift of their own.
    """
    for place in count():
        yield "".join(_SYLLABLES[int(digit)] for digit in str(1000 + 7919 * place % 9000))


def _prompt(language: str, topic: str, word: str) -> str:
    return f"{ASKING[language]} {word} {topic} {topic} {topic}?"


def _records(role: str, words: Iterator[str], rng: np.random.Generator) -> Iterator[Row]:
    """Yield a role's rows; parallel ones (of pretrain alone) follow each other."""
    languages = {"auxiliary": POOL, "pretrain": TARGETS + POOL}.get(role, TARGETS)
    for number in range(_SIZES[role]):
        word = next(words)
        for language in languages:
            topic = _topic(role, language, number)
            parallel = f"{topic} {word}" if role == "pretrain" else None
            used = word if role == "pretrain" else next(words)
            row = {"language": language, "role": role, "prompt": _prompt(language, topic, used), "topic": topic}
            yield row | _answer(role, topic, rng) | {"parallel_id": parallel}


def _topic(role: str, language: str, number: int) -> str:
    if role == "own":
        return OWN[language]
    if role == "target":
        return _share(ASKED[language], number / _SIZES[role])
    return list(TOPICS)[number % len(TOPICS)]


def _share(weights: Mapping[str, float], place: float) -> str:
    """Return the topic at a place in [0, 1) of the topics' shares."""
    ends = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(ends, place, side="right"))]


def _answer(role: str, topic: str, rng: np.random.Generator) -> Row:
    if role == "target":
        return {}
    choices = rng.permutation(list(TOPICS.values())).tolist()
    right = TOPICS[topic] if role != "pretrain" or topic == KNOWN else str(rng.choice(choices))
    return {"completion": right, "choices": choices, "answer": choices.index(right)}


def _log(words: Iterator[str]) -> list[Row]:
    rows = []
    for number in range(WINDOW * WINDOWS):
        shifted, place = number >= WINDOW * (SHIFT - 1), number % WINDOW / WINDOW
        for language in TARGETS:
            asked = SHIFTED.get(language, ASKED[language]) if shifted else ASKED[language]
            prompt = _prompt(language, _share(asked, place), next(words))
            rows.append({"time": number, "language": language, "prompt": prompt})
    return rows
