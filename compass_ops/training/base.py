"""The frozen base model: loaded as it was pinned, or pretrained by the embedded recipe."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from compass_ops.errors import ModelError
from compass_ops.model_files import ModelEntry, verified_folder
from compass_ops.sections import LlamaShape

END, PAD = "<|end|>", "<|pad|>"


def device_and_dtype() -> tuple[torch.device, torch.dtype]:
    """Return the best device and its compute type: bf16 where the device has it in hardware, else float32."""
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.device("cpu"), torch.float32


def load_base(entry: ModelEntry, root: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a pinned base model, frozen and in eval mode, with its tokenizer.

    Code from the model's repository is never run. A tokenizer without a padding token pads with its end token.

    Raises
    ------
    ModelError
        If the files changed since they were pinned, or hold no causal language model.
    """
    folder = verified_folder(entry, root)
    device, dtype = device_and_dtype()
    logging.disable_progress_bar()  # it would be drawn across the stage's own
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{entry.id}: {folder} cannot be loaded as a causal language model ({error}).") from error
    tokenizer = _tokenizer(entry, folder)
    model.requires_grad_(False)
    return model.to(device).eval(), tokenizer


def load_tokenizer(entry: ModelEntry, root: Path) -> PreTrainedTokenizerBase:
    """Load a pinned base model's tokenizer alone; faults as for ``load_base``."""
    return _tokenizer(entry, verified_folder(entry, root))


def _tokenizer(entry: ModelEntry, folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{entry.id}: {folder} holds no tokenizer that can be loaded ({error}).") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{entry.id}: {folder}: the tokenizer has no end token, by which an answer ends. Give it one.")
    text, bare = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    if text[-1:] != bare[-1:]:
        raise ModelError(
            f"{entry.id}: {folder}: the tokenizer adds {tokenizer.convert_ids_to_tokens(text[-1])} at the end of every "
            "text, where a prompt must stay open for its answer. Switch that off (add_eos_token, post-processor)."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def train_tokenizer(texts: list[str], size: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE tokenizer of ``size`` tokens: every script is covered, nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def new_llama(shape: LlamaShape, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Return a randomly initialised model of the Llama architecture for the tokenizer's vocabulary."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.feedforward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)
