"""Tiny models and a tokenizer, made on the spot, and the slow way to score a choice."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

ARCHITECTURES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "phi3": (Phi3Config, Phi3ForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
END, BEGIN = "<|end|>", "<|begin|>"

PROMPTS = [
    "The currency of Kenya is",
    "Sarafu ya Kenya ni ",  # white space at the end
    "Die Hauptsprache von Österreich ist\n",
    "Q: " + "which day follows Monday? " * 12,  # over the longest input
    "",
    "कौन सा दिन?",
    END + "begins with the end token",
    BEGIN + "begins with the begin token",
]
CHOICES = [
    ["shilling", "Kenyan shilling", "a", "the old East African shilling of 1921"],
    ["shilingi", "yen", "euro", "dola"],
    ["Deutsch", "Englisch"],
    ["Tuesday", "no day follows Monday at all", "x"],
    ["one", "two words"],
    ["मंगलवार", "सोमवार", "a"],
    ["a", "a"],
    ["a", "b c"],
]


def tiny_tokenizer(*, begin: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE with some merges; with ``begin`` it puts a begin token before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [END, BEGIN]
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*PROMPTS, *(choice for own in CHOICES for choice in own)], trainer)
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 1)])
    named: dict[str, Any] = {"bos_token": BEGIN} if begin else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, **named)


def tiny_model(architecture: str, seed: int = 0, attention: str = "sdpa", **config: Any) -> Any:
    """Random weights large enough that the context matters."""
    torch.manual_seed(seed)
    make_config, make_model = ARCHITECTURES[architecture]
    sizes: dict[str, Any] = {
        "vocab_size": 360,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "attn_implementation": attention,
    }
    return make_model(make_config(**(sizes | config))).eval()


def slow_log_likelihood(model: Any, tokenizer: Any, prompt: str, continuation: str, max_tokens: int) -> float:
    """One row per choice, the whole softmax, one token after the other."""
    context = tokenizer(prompt)["input_ids"]
    whole = tokenizer(prompt + continuation)["input_ids"]
    answer = whole[len(context) :]
    tokens = (context + answer)[-(max_tokens + 1) :]
    with torch.no_grad():
        log_probs = model(torch.tensor([tokens[:-1]])).logits[0].double().log_softmax(dim=-1)
    first = len(tokens) - len(answer)
    return sum(float(log_probs[i - 1, tokens[i]]) for i in range(first, len(tokens)))
