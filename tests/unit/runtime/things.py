"""Things that tests of the runtime share: models and files as the store and the reader would give them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hutch.core.chat import GenerateRequest, Message
from hutch.core.models import Details, Model, StoredModel
from hutch.core.names import ModelName
from hutch.formats.gguf import GGUF

TINY = ModelName.parse("tiny")
JINJA = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"  # for the engine to render


def facts(size_bytes: int = 1000, **metadata: Any) -> GGUF:
    """What a llama's file says; `a__b` stands for the key `a.b`, and None leaves a key out."""
    said = {
        "general.architecture": "llama",
        "tokenizer.chat_template": JINJA,
        "llama.context_length": 8192,
        "llama.block_count": 2,
        "llama.embedding_length": 8,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
    } | {key.replace("__", "."): value for key, value in metadata.items()}
    return GGUF(3, {key: value for key, value in said.items() if value is not None}, (), size_bytes)


def model(**fields: Any) -> Model:
    """An opened model."""
    stored = StoredModel(TINY, "0" * 64, 1000, datetime.now(UTC), Details())
    return Model(stored, (Path("/models/tiny.gguf"),), **fields)


def user(text: str) -> Message:
    """What a person says."""
    return Message("user", text)


def ask(*messages: Message, **fields: Any) -> GenerateRequest:
    """A request of these messages."""
    return GenerateRequest(TINY, messages=messages, **fields)
