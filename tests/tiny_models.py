"""Randomly initialised models of real architectures, saved in the hub's layout: small enough to train in a test."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM

from compass_ops.training.base import train_tokenizer

TEXTS = ["Which day comes after Monday? Tuesday", "Jaká měna? koruna", "किस देश में? भारत", "ما هي العملة؟ دينار"]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
ARCHITECTURES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "phi3": (Phi3Config, Phi3ForCausalLM),
}


def save_tiny_model(architecture: str, folder: Path, seed: int = 0) -> Path:
    """Save a tiny model and its tokenizer; the same seed gives the same files."""
    tokenizer = train_tokenizer(TEXTS * 4, 300)
    config_class, model_class = ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    model = model_class(config_class(vocab_size=len(tokenizer), **SIZES, **ids))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
