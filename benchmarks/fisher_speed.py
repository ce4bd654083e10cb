"""Cost of the exact Fisher diagonal beside a plain forward and backward pass over the same batches.

python -m benchmarks.fisher_speed
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from compass_ops.training.adapter import AdaptedModel, detach, new_adapter
from compass_ops.training.batches import Example, collate
from compass_ops.training.fisher import fisher_diagonal
from compass_ops.training.loss import completion_loss

ROWS, BATCH, TOKENS, ROUNDS = 128, 32, 64, 7


def main() -> None:
    """Print the cost for LoRA and DoRA, and that of one backward pass per example."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8000,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
    )
    base = LlamaForCausalLM(config).requires_grad_(False).eval()
    rng = np.random.default_rng(0)
    examples = [Example(rng.integers(0, 8000, TOKENS).tolist(), TOKENS // 2) for _ in range(ROWS)]
    told = f"{ROWS} examples of {TOKENS} tokens, batches of {BATCH}; medians of {ROUNDS}"
    print(f"{torch.get_num_threads()} threads; {told}")
    for dora in (False, True):
        lora = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "use_dora": dora}
        model = new_adapter(base, lora, seed=0).eval()
        jobs: dict[str, Callable[[], object]] = {
            "plain": partial(_plain, model, examples),
            "exact": partial(fisher_diagonal, model, examples, 0, BATCH),
            "one by one": partial(fisher_diagonal, model, examples[:BATCH], 0, 1),
        }
        seconds = _interleaved(jobs)
        seconds["one by one"] *= ROWS / BATCH
        print(
            f"{'DoRA' if dora else 'LoRA'}: forward + backward {seconds['plain']:.2f} s, exact Fisher "
            f"{seconds['exact']:.2f} s ({seconds['exact'] / seconds['plain']:.2f} times), "
            f"at batch 1 {seconds['one by one']:.2f} s"
        )
        detach(model)


def _plain(model: AdaptedModel, examples: list[Example]) -> None:
    for start in range(0, len(examples), BATCH):
        torch.autograd.backward(completion_loss(model, collate(examples[start : start + BATCH], 0)))
        model.zero_grad()


def _interleaved(jobs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Time the jobs in turns, so that a busy minute of the machine hits all of them; the first round is thrown away."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


if __name__ == "__main__":
    main()
