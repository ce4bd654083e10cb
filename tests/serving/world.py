"""A tiny base, adapters on it that change its answers, and a real registry that holds them."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.model_files import ModelEntry, folder_entry
from compass_ops.registry.store import RegistryStore
from compass_ops.storage import write_json, write_table
from compass_ops.training.adapter import attach, detach, new_adapter, save_adapter, set_weights, weights_of
from compass_ops.training.base import load_base
from compass_ops.training.version import Origin, write_manifest
from tests.registry.conftest import Decisions, ask
from tests.registry.test_reconcile import run, statuses
from tests.tiny_models import save_tiny_model

LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear"}
PROMPTS = ["Which day comes after Monday?", "Jaká měna?", "किस देश में?", "ما هي العملة؟ دينار", "a"]


class World:
    """A base in ``<root>/base`` and a registry of adapters on it."""

    def __init__(self, root: Path, store: RegistryStore, decisions: Decisions, architecture: str = "llama") -> None:
        self.root, self.store, self.decisions = root, store, decisions
        self.base = save_tiny_model(architecture, root / "base")
        self.entry: ModelEntry = folder_entry(Path("base"), root)

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        return load_base(self.entry, self.root)

    def write_version(self, folder: Path, language: str, seed: int, **lora: Any) -> str:
        """Write a version folder whose adapter answers in its own way; return the adapter's digest."""
        model = new_adapter(self.load()[0], {**LORA, **lora}, seed)
        rng = torch.Generator().manual_seed(seed)
        changed = {name: w + 0.2 * torch.randn(w.shape, generator=rng) for name, w in weights_of(model).items()}
        set_weights(model, changed)
        save_adapter(model, folder / "adapter")
        anchors = {"prompt": PROMPTS, "completion": ["Tuesday", "koruna", "भारत", "دينار", "b"], "cluster": [0] * 5}
        write_table(folder / "anchors.parquet", pa.table(anchors))
        write_json(folder / "reference" / "histogram.json", {"counts": [1]})
        pins = self.entry.as_json()
        text = {"separator": " ", "max_tokens": 64}
        origin = Origin(language, pins, {**pins, "prefix": ""}, None, None, "5" * 64, text)
        return str(write_manifest(folder, origin)["digest"])

    def promote(self, language: str, seed: int, **lora: Any) -> str:
        """Register an adapter and put it in Production; return its digest."""
        folder = self.decisions.candidates / language / "version"
        shutil.rmtree(folder, ignore_errors=True)
        digest = self.write_version(folder, language, seed, **lora)
        state = self.store.read_language(language).state
        champion = (state.production, state.digests[state.production]) if state.production else None
        self.decisions.decide(language, digest, against=champion)
        assert statuses(run(self.store, self.decisions))[language] == "promoted"
        (self.decisions.decisions / f"{language}.json").unlink()
        return digest

    def rollback(self, language: str) -> None:
        """Bring the former champion back."""
        ask(self.store, "rolled back", language, "worse")

    def refuse(self, language: str, seed: int) -> None:
        """Register an adapter that the gate refused: the language is known and has no champion."""
        digest = self.write_version(self.decisions.candidates / language / "version", language, seed)
        self.decisions.decide(language, digest, "refuse")
        run(self.store, self.decisions)
        (self.decisions.decisions / f"{language}.json").unlink()


def slow_answers(world: World, adapter: Path | None, prompts: list[str], max_tokens: int) -> list[str]:
    """Answer one prompt at a time, one token after the other, without a cache."""
    model, tokenizer = world.load()
    adapted = model if adapter is None else attach(model, adapter)
    texts = []
    for prompt in prompts:
        tokens = tokenizer(prompt)["input_ids"]
        made: list[int] = []
        while len(made) < max_tokens and tokenizer.eos_token_id not in made:
            with torch.no_grad():
                made.append(int(adapted(input_ids=torch.tensor([tokens + made])).logits[0, -1].argmax()))
        kept = [token for token in made if token != tokenizer.eos_token_id]
        texts.append(tokenizer.decode(kept, skip_special_tokens=True).removeprefix(" "))
    if adapter is not None:
        detach(adapted)
    return texts
