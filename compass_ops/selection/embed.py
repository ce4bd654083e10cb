"""The only door to sentence-transformers: texts to unit vectors, and the embedded recipe's static embedder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from compass_ops.errors import ModelError, NoVectorError
from compass_ops.model_files import ModelEntry, verified_folder
from compass_ops.sections import TrainedEmbedder

_UNKNOWN = "<unk>"


def load_embedder(entry: ModelEntry, root: Path) -> SentenceTransformer:
    """Load a pinned embedder; ``ModelError`` if its files changed or hold no sentence-transformers model."""
    folder = verified_folder(entry, root)
    try:
        return SentenceTransformer(str(folder), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{entry.id}: {folder} cannot be loaded by sentence-transformers ({error}).") from error


def embed_texts(
    embedder: SentenceTransformer, texts: Sequence[str], prefix: str, batch_rows: int
) -> NDArray[np.float32]:
    """Return float32 (n, d) vectors of length 1; ``prefix`` stands before each text ("query: " for E5 models).

    Raises
    ------
    NoVectorError
        If the embedder returns a vector that is not finite or has no length; it holds those of the other texts.
    """
    prefixed = [prefix + text for text in texts]
    vectors = np.asarray(
        embedder.encode(prefixed, batch_size=batch_rows, convert_to_numpy=True, show_progress_bar=False),
        np.float32,
    )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[~np.isfinite(lengths) | (lengths == 0)] = np.nan
    unit = vectors / lengths
    bad = np.flatnonzero(np.isnan(lengths))
    if bad.size:
        raise NoVectorError(
            f"The embedder gave no finite vector for {texts[bad[0]]!r} and {bad.size - 1} other texts. Leave them out "
            "of the data, or choose another base.embedder.",
            unit,
        )
    return unit


def train_static_embedder(pairs: Sequence[tuple[str, str]], params: TrainedEmbedder, seed: int) -> SentenceTransformer:
    """Train a static embedder on pairs of texts that ask the same: the stand-in for a multilingual E5 model.

    Token vectors are averaged; the loss is in-batch softmax over scaled cosines (multiple negatives ranking,
    Henderson et al. 2017, arXiv 1705.00652). Minutes on a laptop become seconds because only the tokens of a
    batch move.

    Parameters
    ----------
    pairs : sequence of (str, str)
        Parallel texts, usually of two languages.
    params : TrainedEmbedder
        Tokens and columns of the table of vectors, passes over the pairs.
    seed : int
        Of the initial vectors and the order of the pairs.
    """
    torch.manual_seed(seed)
    tokenizer = _train_word_pieces([text for pair in pairs for text in pair], params.vocabulary)
    module = StaticEmbedding(tokenizer, embedding_dim=params.dimension)
    model = SentenceTransformer(modules=[module], device="cpu")
    left = [tokenizer.encode(text, add_special_tokens=False).ids for text, _ in pairs]
    right = [tokenizer.encode(text, add_special_tokens=False).ids for _, text in pairs]
    rows = 256
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    order = torch.Generator().manual_seed(seed)
    for _ in range(params.epochs):
        for batch in torch.randperm(len(pairs), generator=order).split(rows):
            chosen = batch.tolist()
            queries = _bagged(module, [left[row] for row in chosen])
            answers = _bagged(module, [right[row] for row in chosen])
            scores = 20.0 * queries @ answers.T
            gold = torch.arange(len(chosen))
            loss = (
                torch.nn.functional.cross_entropy(scores, gold) + torch.nn.functional.cross_entropy(scores.T, gold)
            ) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def _bagged(module: Any, sequences: list[list[int]]) -> torch.Tensor:
    offsets = torch.tensor([0, *np.cumsum([len(ids) for ids in sequences])[:-1].tolist()])
    flat = torch.tensor([token for ids in sequences for token in ids])
    return torch.nn.functional.normalize(module.embedding(flat, offsets), dim=1)


def _train_word_pieces(texts: list[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=True)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_UNKNOWN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
