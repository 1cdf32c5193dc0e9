"""Hutch: a small private house for small language models."""

__version__ = "0.1.0"

# The version of Ollama whose API and commands these are: clients compare it.
OLLAMA_VERSION = "0.33.0"
