"""A project of two languages on disk: a tiny base, adapters on it, test items, clusters."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from compass_ops.evaluation.evaluate import EvaluateInputs
from compass_ops.evaluation.score import ScoreSettings, score_choices
from compass_ops.evaluation.scorer import Scorer
from compass_ops.model_files import folder_entry
from compass_ops.storage import file_digest, read_table, write_array, write_json, write_table
from compass_ops.training.adapter import attach, detach, new_adapter, save_adapter, set_weights, weights_of
from tests.evaluation.models import tiny_model, tiny_tokenizer

SETTINGS = ScoreSettings(separator=" ", max_tokens=48, batch_tokens=512)
LANGUAGES = ("sw", "ca")
ITEMS = 60
CLUSTERS = 4


class Project:
    """Files of a tiny project below ``root``, in the layout of the pipeline."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tokenizer = tiny_tokenizer()
        self.model = tiny_model("llama")
        self.model.save_pretrained(root / "base")
        self.tokenizer.save_pretrained(root / "base")
        self.entry = folder_entry(Path("base"), root)
        self.inputs = EvaluateInputs(root / "train", root / "ingest", root / "assignments")
        for number, language in enumerate(LANGUAGES):
            self.add_adapter(root / "train" / language / "version", seed=number)
            for half in ("dev", "gate"):
                self.write_items(half, language, answers="adapter")

    def scorer(self) -> Scorer:
        return Scorer(self.entry, self.root, SETTINGS, self.root / "memo")

    def add_adapter(self, version: Path, seed: int, *, scale: float = 0.3, **manifest: Any) -> str:
        """Write a version folder with a random adapter that changes the base's answers; return its digest."""
        model = new_adapter(self.model, {"r": 4, "target_modules": "all-linear"}, seed)
        rng = torch.Generator().manual_seed(seed)
        shapes = weights_of(model)
        set_weights(model, {name: scale * torch.randn(w.shape, generator=rng) for name, w in shapes.items()})
        save_adapter(model, version / "adapter")
        detach(model)
        digest = file_digest(version / "adapter" / "adapter_model.safetensors")
        about = {"digest": digest, "base": {"digest": self.entry.digest}, "parent": None} | manifest
        write_json(version / "manifest.json", about)
        write_json(version / "reference" / "histogram.json", {"counts": [15] * CLUSTERS})
        write_array(version / "reference" / "centroids.npy", np.eye(CLUSTERS, dtype=np.float32))
        self.write_memory(version, [15] * CLUSTERS)
        return digest

    def write_memory(self, version: Path, learned: list[int]) -> None:
        """Write anchors that stand for so many rows of each cluster."""
        clusters = pa.array(range(CLUSTERS), pa.int32())
        stand_for = pa.array([float(rows) for rows in learned])
        write_table(version / "anchors.parquet", pa.table({"cluster": clusters, "stands_for": stand_for}))

    def relabel(self, half: str, language: str, version: Path, *, cluster: int) -> None:
        """Let the items of a cluster be answered rightly by another version instead."""
        file = self.root / "ingest" / half / f"{language}.parquet"
        table = read_table(file)
        own = self.scores(table["prompt"].to_pylist(), table["choices"].to_pylist(), version)
        gold = [
            int(found.argmax()) if row % CLUSTERS == cluster else answer
            for row, (found, answer) in enumerate(zip(own, table["answer"].to_pylist(), strict=True))
        ]
        place = table.column_names.index("answer")
        write_table(file, table.set_column(place, "answer", pa.array(gold, pa.int64())))

    def scores(self, prompts: list[str], choices: list[list[str]], version: Path | None) -> list[np.ndarray]:
        if version is None:
            return score_choices(self.model, self.tokenizer, prompts, choices, SETTINGS)
        model = attach(self.model, version / "adapter")
        try:
            return score_choices(model, self.tokenizer, prompts, choices, SETTINGS)
        finally:
            detach(model)

    def write_items(self, half: str, language: str, answers: str, **columns: Any) -> pa.Table:
        """Write test items whose right answers are those of the adapter, of the base, or of nobody ("none")."""
        prompts = [f"{half} {language}: day {number} is" for number in range(ITEMS)]
        choices = [[chr(97 + (number + step) % 26) for step in (0, 5, 11, 18)] for number in range(ITEMS)]
        version = {"adapter": self.root / "train" / language / "version", "base": None}
        gold: list[int | None] = [None] * ITEMS
        if answers != "none":
            gold = [int(own.argmax()) for own in self.scores(prompts, choices, version[answers])]
        table = pa.table(
            {
                "id": [f"{half}-{number:02d}" for number in range(ITEMS)],
                "prompt": prompts,
                "choices": choices,
                "answer": pa.array(gold, pa.int64()),
                "topic": ["day"] * ITEMS,
                "parallel_id": pa.array([None] * ITEMS, pa.string()),
            }
            | columns
        )
        write_table(self.root / "ingest" / half / f"{language}.parquet", table)
        clusters = np.arange(ITEMS, dtype=np.int32) % CLUSTERS
        write_array(self.root / "assignments" / half / f"{language}.npy", clusters)
        return table
