"""Lifecycle of per-language PEFT adapters: semantic-gap selection, drift-gated updates, gated promotion."""

__version__ = "0.1.0"
__all__ = ["__version__"]
