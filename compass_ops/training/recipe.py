"""The embedded recipe: a small base model and a static embedder, made from the records of role ``pretrain``."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.errors import ParamsError
from compass_ops.sections import BaseParams, PretrainedModel, ScheduleParams, TrainedEmbedder
from compass_ops.seeding import derived_seed, generator
from compass_ops.selection.embed import train_static_embedder
from compass_ops.storage import read_table, remove_folder, write_json
from compass_ops.training.base import new_llama, train_tokenizer
from compass_ops.training.batches import encode
from compass_ops.training.train import CurvePoint, Run, Schedule, train


def schedule_from(params: ScheduleParams) -> Schedule:
    """Turn the params' schedule into the training loop's."""
    return Schedule(**params.model_dump())


def pretrain_base(
    rows: Sequence[tuple[str, str]], params: PretrainedModel, text: tuple[str, int], work: Path, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[CurvePoint]]:
    """Train a tokenizer and a small Llama on (prompt, completion) rows; all tokens bear loss.

    ``text`` is the separator between prompt and completion and the longest text in tokens. With
    ``instruction_tuning`` the rows that have a completion are trained on once more, and there it alone bears loss: an
    answer of one word among a hundred is hardly learned otherwise. The curve is that of the pretraining.

    Raises
    ------
    ParamsError
        If rows with a completion are asked for and there are none.
    """
    separator, max_tokens = text
    answered, unanswered = [row for row in rows if row[1]], [row for row in rows if not row[1]]
    if params.instruction_tuning is not None and not answered:
        raise ParamsError(
            "params.yaml: base.model.instruction_tuning: no record of role pretrain has a completion to train on. Map "
            "a source that has some, or set it to null."
        )
    texts = [f"{prompt}{separator}{answer}" if answer else prompt for prompt, answer in rows]
    tokenizer = train_tokenizer(texts, params.shape.vocabulary)
    model = new_llama(params.shape, tokenizer, derived_seed(seed, "base", "initial weights"))
    examples = []
    # A text without an answer has no separator, which would announce one.
    for some, between in ((answered, separator), (unanswered, "")):
        examples += encode(tokenizer, some, between, max_tokens, completion_only=False) if some else []
    run = Run(work, derived_seed(seed, "base", "order"))
    curve = train(model, examples, tokenizer.pad_token_id, schedule_from(params.schedule), run)
    if params.instruction_tuning is not None:
        answers = encode(tokenizer, answered, separator, max_tokens)
        again = Run(work / "instruction_tuning", derived_seed(seed, "base", "instruction order"))
        train(model, answers, tokenizer.pad_token_id, schedule_from(params.instruction_tuning), again)
    return model, tokenizer, curve


def parallel_pairs(
    texts: Sequence[str], parallel_ids: Sequence[str | None], rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Pair each text with a parallel one of the same id; a text without a parallel, its first half with its second.

    Halves of one text are about the same, which is what the embedder is to learn where nothing is parallel.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, parallel_id in enumerate(parallel_ids):
        groups[parallel_id if parallel_id is not None else f"row {row}"].append(row)
    pairs = []
    for rows in groups.values():
        order = rng.permutation(rows)
        if len(order) == 1:
            words = texts[order[0]].split()
            middle = max(1, len(words) // 2)
            pairs.append((" ".join(words[:middle]), " ".join(words[middle:]) or words[0]))
        else:
            pairs.extend((texts[left], texts[right]) for left, right in zip(order, np.roll(order, 1), strict=True))
    return pairs


def write_base(folders: Sequence[Path], base: BaseParams, seed: int, out: Path) -> None:
    """Pretrain a base on the records in ``folders`` and write it to ``out`` in the hub's layout, with its curve."""
    model = cast(PretrainedModel, base.model)
    rows = [(row["prompt"], row["completion"]) for row in _records(folders)]
    text = (base.separator, base.max_tokens)
    trained, tokenizer, curve = pretrain_base(rows, model, text, out / "checkpoints", seed)
    trained.save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_json(out / "curve.json", [{"step": point.step, "loss": point.loss} for point in curve])
    remove_folder(out / "checkpoints")


def write_embedder(folders: Sequence[Path], base: BaseParams, seed: int, out: Path) -> None:
    """Train a static embedder on the prompts of the records in ``folders`` and write it to ``out``."""
    rows = _records(folders)
    rng = generator(seed, "base", "pairs")
    pairs = parallel_pairs([row["prompt"] for row in rows], [row["parallel_id"] for row in rows], rng)
    train_static_embedder(pairs, cast(TrainedEmbedder, base.embedder), seed).save(str(out), create_model_card=False)


def _records(folders: Sequence[Path]) -> list[dict[str, str]]:
    files = [file for folder in folders for file in sorted(folder.glob("*.parquet"))]
    columns = ["prompt", "completion", "parallel_id"]
    rows = [row for file in files for row in read_table(file).select(columns).to_pylist()]
    if not rows:
        raise ParamsError(
            "params.yaml: base: a pretrained model and a trained embedder need records of role pretrain; there are "
            "none. Map a source to it, or choose kind hub or folder."
        )
    return rows
