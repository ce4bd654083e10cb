"""The embedded recipe's embedder brings parallel texts together; vectors are unit; what changed is refused."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from compass_ops.errors import ModelError, NoVectorError
from compass_ops.model_files import folder_entry
from compass_ops.sections import TrainedEmbedder
from compass_ops.selection.embed import embed_texts, load_embedder, train_static_embedder

PARAMS = TrainedEmbedder(kind="trained", vocabulary=400, dimension=16, epochs=20)
NUMBERS = ("one two three four five six seven eight", "moja mbili tatu nne tano sita saba nane")
PAIRS = list(zip(NUMBERS[0].split(), NUMBERS[1].split(), strict=True))


@pytest.fixture(scope="module")
def embedder() -> SentenceTransformer:
    return train_static_embedder(PAIRS, PARAMS, seed=0)


def test_a_text_is_nearest_to_its_translation(embedder: SentenceTransformer) -> None:
    english = embed_texts(embedder, [pair[0] for pair in PAIRS], "", 4)
    swahili = embed_texts(embedder, [pair[1] for pair in PAIRS], "", 4)
    assert np.argmax(english @ swahili.T, axis=1).tolist() == list(range(8))


def test_vectors_are_float32_and_of_length_one(embedder: SentenceTransformer) -> None:
    vectors = embed_texts(embedder, ["one", "mbili tatu"], "query: ", 2)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_same_seed_same_vectors(embedder: SentenceTransformer) -> None:
    again = train_static_embedder(PAIRS, PARAMS, seed=0)
    assert np.array_equal(embed_texts(embedder, ["three"], "", 1), embed_texts(again, ["three"], "", 1))


def test_saved_and_loaded_it_embeds_the_same(embedder: SentenceTransformer, tmp_path: Path) -> None:
    embedder.save(str(tmp_path / "embedder"), create_model_card=False)
    loaded = load_embedder(folder_entry(Path("embedder"), tmp_path), tmp_path)
    assert np.array_equal(embed_texts(embedder, ["four"], "", 1), embed_texts(loaded, ["four"], "", 1))


def test_a_changed_embedder_is_refused(embedder: SentenceTransformer, tmp_path: Path) -> None:
    embedder.save(str(tmp_path / "embedder"), create_model_card=False)
    entry = folder_entry(Path("embedder"), tmp_path)
    weights = next((tmp_path / "embedder").rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match=f"expected {entry.digest}"):
        load_embedder(entry, tmp_path)


def test_a_text_without_a_vector_is_named(embedder: SentenceTransformer) -> None:
    with pytest.raises(NoVectorError, match="no finite vector for ''") as caught:
        embed_texts(embedder, ["one", ""], "", 2)
    assert np.array_equal(caught.value.vectors[:1], embed_texts(embedder, ["one"], "", 2))
    assert np.isnan(caught.value.vectors[1]).all()
