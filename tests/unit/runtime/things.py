"""Things that tests of the runtime share: models and files as the store and the reader would give them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hutch.core.chat import GenerateRequest, Message
from hutch.core.models import Details, Model, ModelFile, StoredModel
from hutch.core.names import ModelName
from hutch.formats.genai_config import Decoder, GenAIConfig
from hutch.formats.gguf import GGUF
from hutch.formats.onnx_model import OnnxModel
from hutch.formats.tokenizer_files import TokenizerFiles

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


def onnx_facts(size_bytes: int = 1000, **more: Any) -> OnnxModel:
    """What a llama's folder of ONNX says."""
    names = dict.fromkeys(("past_key_names", "past_value_names"), "past.%d")
    decoder = Decoder("model.onnx", 2, 4, 2, 16, 64, names, None)
    config = GenAIConfig("llama", 8192, 300, (2,), 1, 2, decoder, (), ("model.onnx",), {})
    said = {
        "names": ("model.onnx",),
        "size_bytes": size_bytes,
        "parameter_count": 100,
        "file_type": "int4",
        "tokenizer": TokenizerFiles(300, JINJA, None, None),
        "config": config,
        "encoder": None,
        "graphs": {},
        "kv_element_bytes": 4,
    }
    return OnnxModel(**{**said, **more})


def onnx_model(**fields: Any) -> Model:
    """An opened model of ONNX."""
    return model(files=(ModelFile("model.onnx", Path("/models/blobs/sha256-a")),), **fields)._replace(
        weights=()
    )


def user(text: str) -> Message:
    """What a person says."""
    return Message("user", text)


def ask(*messages: Message, **fields: Any) -> GenerateRequest:
    """A request of these messages."""
    return GenerateRequest(TINY, messages=messages, **fields)
