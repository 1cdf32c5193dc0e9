"""Hutch: a small private house for small language models."""

__version__ = "0.1.0"
