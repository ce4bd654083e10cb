"""Loading a pinned base: what is refused, and what a tokenizer covers."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.storage import read_json, write_json
from compass_ops.training.base import load_base, load_tokenizer, train_tokenizer
from tests.tiny_models import TEXTS, save_tiny_model


def test_a_changed_base_is_refused_with_both_digests(tmp_path: Path) -> None:
    save_tiny_model("llama", tmp_path / "base", seed=0)
    entry = folder_entry(Path("base"), tmp_path)
    save_tiny_model("llama", tmp_path / "base", seed=1)
    other = folder_entry(Path("base"), tmp_path)
    with pytest.raises(ModelError, match=f"digest {other.digest}, expected {entry.digest}"):
        load_base(entry, tmp_path)


def test_a_folder_that_holds_no_language_model_is_said(tmp_path: Path) -> None:
    save_tiny_model("llama", tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load_base(folder_entry(Path("base"), tmp_path), tmp_path)


def save_without(token: str, folder: Path) -> None:
    """Save a tiny model whose tokenizer lacks one of its special tokens."""
    save_tiny_model("llama", folder)
    file = folder / "tokenizer_config.json"
    write_json(file, read_json(file) | {token: None})


def test_a_tokenizer_without_padding_pads_with_its_end(tmp_path: Path) -> None:
    save_without("pad_token", tmp_path / "base")
    _, tokenizer = load_base(folder_entry(Path("base"), tmp_path), tmp_path)
    assert tokenizer.pad_token == tokenizer.eos_token


def test_the_tokenizer_covers_every_script() -> None:
    tokenizer = train_tokenizer(TEXTS * 4, 300)
    for text in ("ሰላም", "你好", "Ἀθήνα", "🙂"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_tokenizer_that_ends_every_text_is_refused(tmp_path: Path) -> None:
    """Its end token would stand between a prompt and its answer, and the answer's first token be lost."""
    save_tiny_model("llama", tmp_path / "base")
    tokenizer = load_base(folder_entry(Path("base"), tmp_path), tmp_path)[1]
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    tokenizer.save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match=r"adds <\|end\|> at the end of every text.* Switch that off"):
        load_base(folder_entry(Path("base"), tmp_path), tmp_path)


def test_a_tokenizer_that_knows_no_latin_letter_is_no_such(tmp_path: Path) -> None:
    """The token of what it does not know is a special one too."""
    words = Tokenizer(WordLevel({"<unk>": 0, "<|end|>": 1, "ሰላም": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>", unk_token="<unk>")
    save_tiny_model("llama", tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    assert load_tokenizer(folder_entry(Path("base"), tmp_path), tmp_path)("ሰላም")["input_ids"] == [2]


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path: Path) -> None:
    save_without("eos_token", tmp_path / "base")
    with pytest.raises(ModelError, match="the tokenizer has no end token, by which an answer ends"):
        load_base(folder_entry(Path("base"), tmp_path), tmp_path)
