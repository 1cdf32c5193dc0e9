"""What a good GGUF file says of itself."""

import struct
from array import array
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest

from hutch.formats.ggml_types import FILE_TYPES, REMOVED_TENSOR_TYPES, TENSOR_TYPES
from hutch.formats.gguf import GGUF, Tensor, read
from tests.gguf_files import EMBEDDING, NORM, TOKENS, Raw, TensorSpec, number, tiny_metadata, tiny_model

Reader = Callable[..., GGUF]


@pytest.fixture
def model(tmp_path: Path) -> Reader:
    """Writes the tiny model with changes, and reads it back."""

    def write_and_read(*args: Any, **kwargs: Any) -> GGUF:
        path = tmp_path / "model.gguf"
        path.write_bytes(tiny_model(*args, **kwargs))
        return read(path)

    return write_and_read


def of_parameters(count: int) -> GGUF:
    return GGUF(3, {}, (Tensor("t", (count,), "F32", 0, 4 * count),), 0)


def test_reads_what_was_written(model: Reader) -> None:
    found = model()
    assert found.metadata == tiny_metadata()
    assert found.version == 3
    assert found.tensors == (
        Tensor("token_embd.weight", (8, 6), "F32", 0, 192),
        Tensor("output_norm.weight", (8,), "F32", 192, 32),
    )
    assert found.size_bytes == len(tiny_model())


def test_tells_the_model(model: Reader) -> None:
    found = model()
    assert found.architecture == "llama"
    assert found.file_type == "F32"
    assert (found.parameter_count, found.parameter_size) == (56, "56")
    assert (found.context_length, found.block_count, found.embedding_length) == (64, 2, 8)
    assert found.chat_template
    assert not found.is_embedding
    assert found.split_count == 1


def test_reads_version_2(model: Reader) -> None:
    assert model(version=2).version == 2


def test_follows_a_link_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(tiny_model())
    (tmp_path / "link").symlink_to("model")
    assert read(tmp_path / "link").architecture == "llama"


@pytest.mark.parametrize(
    ("code", "value"),
    [("B", 255), ("b", -7), ("H", 65535), ("h", -7), ("I", 7), ("i", -7), ("Q", 1 << 63), ("q", -7)],
)
def test_reads_every_integer_type(model: Reader, code: str, value: int) -> None:
    assert model({"x.y": number(code, value)}).metadata["x.y"] == value
    assert model({"x.y": array(code, [0, value])}).metadata["x.y"] == array(code, [0, value])


def test_reads_floats_and_booleans(model: Reader) -> None:
    changes = {"a": number("f", 0.5), "b": 0.1, "c": array("d", [0.1]), "d": False, "e": (True, False)}
    found = model(changes).metadata
    assert {key: found[key] for key in changes} == {**changes, "a": 0.5}


def test_replaces_bytes_of_a_value_that_are_not_utf8(model: Reader) -> None:
    tokens = (*TOKENS[:-1], b"\xff\xfe")
    assert model({"tokenizer.ggml.tokens": tokens}).metadata["tokenizer.ggml.tokens"][-1] == "\ufffd\ufffd"


def test_lets_replaced_tokens_be_equal_and_empty_ones_be_several(model: Reader) -> None:
    assert model({"tokenizer.ggml.tokens": (*TOKENS[:2], "<0x0A>", "", "", b"\xff")})
    assert model({"tokenizer.ggml.tokens": (*TOKENS[:2], "<0x0A>", "a", b"\xfe", b"\xff")})


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_heeds_the_alignment(model: Reader, alignment: int) -> None:
    found = model({"general.alignment": alignment}, alignment=alignment)
    assert found.tensors[1].offset == -(-192 // alignment) * alignment


def test_takes_tensors_in_any_order_and_with_gaps(model: Reader) -> None:
    tensors = (TensorSpec("b", (8,), offset=256), TensorSpec("a", (8,), offset=32))
    found = model({}, tensors, extra_bytes=288)
    assert [(tensor.name, tensor.offset) for tensor in found.tensors] == [("b", 256), ("a", 32)]


@pytest.mark.parametrize("type_id", TENSOR_TYPES)
def test_knows_the_size_of_every_tensor_type(model: Reader, type_id: int) -> None:
    kind = TENSOR_TYPES[type_id]
    tensor = model(tensors=(EMBEDDING, TensorSpec("t", (512, 3), type_id))).tensors[1]
    assert tensor.type_name == kind.name
    assert tensor.size_bytes == 512 * 3 * kind.block_bytes / kind.block_size


def test_no_tensor_type_is_known_and_removed() -> None:
    assert not TENSOR_TYPES.keys() & REMOVED_TENSOR_TYPES.keys()
    assert sorted(TENSOR_TYPES.keys() | REMOVED_TENSOR_TYPES.keys()) == list(range(43))


@pytest.mark.parametrize(
    ("number_", "name"), [(0, "F32"), (3, "Q4_1"), (15, "Q4_K_M"), (30, "IQ4_XS"), (38, "MXFP4_MOE")]
)
def test_names_the_file_type(model: Reader, number_: int, name: str) -> None:
    assert FILE_TYPES[number_] == name
    assert model({"general.file_type": number_}).file_type == name


@pytest.mark.parametrize("unknown", [None, 4, 1024])
def test_without_a_known_file_type_names_the_type_of_most_parameters(
    model: Reader, unknown: int | None
) -> None:
    tensors = (NORM, TensorSpec("a", (8,)), TensorSpec("b", (256, 4), 12))
    assert model({"general.file_type": unknown}, tensors).file_type == "Q4_K"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"), (1_000, "1K"), (22_600, "23K"), (1_000_000, "1M"), (134_515_008, "134.52M"),
        (999_999_999, "1000.00M"), (1_000_000_000, "1B"), (1_235_814_400, "1.2B"), (3_212_749_888, "3.2B"),
        (7_000_000_000, "7B"), (70_553_706_496, "70.6B"),
    ],
)  # fmt: skip
def test_prints_sizes_as_ollama_does(count: int, text: str) -> None:
    assert of_parameters(count).parameter_size == text


@pytest.mark.parametrize(
    ("architecture", "pooling", "expected"),
    [
        ("llama", None, False), ("llama", 3, True), ("bert", None, True), ("nomic-bert-moe", None, True),
        ("jina-bert-v2", 1, True), ("t5encoder", None, True), ("t5", None, False), ("gemma3", None, False),
        ("gemma-embedding", None, True),
    ],
)  # fmt: skip
def test_tells_embedding_models(
    model: Reader, architecture: str, pooling: int | None, expected: bool
) -> None:
    changes = {"general.architecture": architecture, f"{architecture}.pooling_type": pooling}
    assert model(changes).is_embedding is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2 * 2 * (2 + 2) * 2),  # layers, heads, key and value, bytes
        ({"head_count_kv": None}, 2 * 4 * 4 * 2),  # as many as heads
        ({"head_count_kv": array("I", [2, 0])}, 2 * 4 * 2),
        ({"key_length": 16, "value_length": 8}, 2 * 2 * 24 * 2),
        ({"key_length": 16}, 2 * 2 * 18 * 2),
        ({"head_count": array("I", [0, 4]), "head_count_kv": array("i", [0, 1])}, 4 * 2),
        ({"head_count": 0, "head_count_kv": 0}, 0),
        ({"head_count": None, "head_count_kv": None}, 0),
    ],
)
def test_counts_the_cache_of_a_token(model: Reader, changes: dict[str, Any], expected: int) -> None:
    found = model({f"llama.attention.{name}": value for name, value in changes.items()})
    assert found.kv_bytes_per_token() == expected
    assert found.kv_bytes_per_token(1) == expected // 2


def test_a_file_that_tells_little_is_read(model: Reader) -> None:
    found = model(dict.fromkeys(tiny_metadata()) | {"general.architecture": "mystery"}, (NORM,))
    assert (found.context_length, found.block_count, found.embedding_length) == (None, None, None)
    assert found.kv_bytes_per_token() == 0
    assert not found.chat_template


def test_reads_the_files_of_a_split_model(model: Reader) -> None:
    first = model({"split.no": number("H", 0), "split.count": number("H", 3)}, ())
    assert (first.split_count, first.tensors, first.file_type) == (3, (), "F32")
    later = model(dict.fromkeys(tiny_metadata()) | {"split.no": 1, "split.count": 3}, (NORM,))
    assert (later.split_count, later.architecture) == (3, "")


def test_a_merged_file_is_one(model: Reader) -> None:
    assert model({"split.count": number("H", 0)}).split_count == 1


@pytest.mark.parametrize("nothing", [-1, 0xFFFFFFFF])
def test_a_special_token_may_be_none(model: Reader, nothing: int) -> None:
    assert model({"tokenizer.ggml.padding_token_id": nothing})


def test_reads_a_header_longer_than_the_first_read(model: Reader) -> None:
    texts = tuple(f"{index} " * 40 for index in range(30_000))
    found = model({"long": texts, "longer": array("Q", range(300_000))})
    assert found.metadata["long"] == texts
    assert found.metadata["longer"][-1] == 299_999
    assert found.parameter_count == sum(prod(tensor.shape) for tensor in (EMBEDDING, NORM))


def test_a_string_may_be_16_mib_long(model: Reader) -> None:
    payload = struct.pack("<Q", 16 << 20) + bytes(16 << 20)
    assert len(model({"long": Raw(8, payload)}).metadata["long"]) == 16 << 20
