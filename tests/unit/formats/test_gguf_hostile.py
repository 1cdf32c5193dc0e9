"""Files made to do harm: each is refused soon, in little memory, by an error that names what is wrong."""

import os
import socket
import struct
import time
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import FormatError
from hutch.formats.ggml_types import REMOVED_TENSOR_TYPES
from hutch.formats.gguf import read
from hutch.formats.gguf_source import Source
from tests.gguf_files import (
    ARRAY,
    BOOL,
    EMBEDDING,
    NORM,
    STRING,
    TOKENS,
    Raw,
    TensorSpec,
    array_of,
    build,
    string,
    tiny_metadata,
    tiny_model,
)

GOOD = tiny_model()
MAX_SECONDS = 1.0
MAX_MEMORY_BYTES = 32 << 20


def spec(name: str | bytes = "t", shape: tuple[int, ...] = (32,), **more: Any) -> bytes:
    """The tiny model with one more tensor."""
    return tiny_model(tensors=(EMBEDDING, NORM, TensorSpec(name, shape, **more)))


def changed(key: str, value: Any) -> bytes:
    return tiny_model({key: value})


def pairs(*extra: tuple[str | bytes, Any]) -> bytes:
    """The tiny model with more metadata, keys as they come."""
    return build([*tiny_metadata().items(), *extra], (EMBEDDING, NORM))


HUGE = (1 << 40, 1 << 63, (1 << 64) - 1)
TOO_LONG = "T" * 65

HEADERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "one byte": (b"G", "starts with the bytes 47, not with GGUF"),
    "magic only": (b"GGUF", "the version ends at byte 8, but the file has 4"),
    "another magic": (
        b"GGML" + GOOD[4:],
        "not a GGUF file: it starts with the bytes 47 47 4d 4c, not with GGUF",
    ),
    "a zip file": (b"PK\3\4" + bytes(100), "not a GGUF file"),
    "version 0": (tiny_model(version=0), "GGUF version 0; versions 2 and 3"),
    "version 1": (tiny_model(version=1), "GGUF version 1;"),
    "version 99": (tiny_model(version=99), "GGUF version 99;"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 2, 18) + GOOD[24:], "big-endian"),
    "no tensors": (tiny_model(tensors=()), "has no tensors"),
    "more tensors than there are": (tiny_model(num_tensors=3), ""),
    "more keys than there are": (tiny_model(num_keys=19), ""),
    **{f"{n} tensors": (tiny_model(num_tensors=n), f"tensor_count is {n:,}; at most 65,536") for n in HUGE},
    **{f"{n} keys": (tiny_model(num_keys=n), f"metadata_kv_count is {n:,}; at most 10,000") for n in HUGE},
    "65,535 tensors": (tiny_model(num_tensors=65_535), "tensor_count is 65,535, which the"),
    "9,999 keys": (tiny_model(num_keys=9_999), "metadata_kv_count is 9,999, which the"),
}

VALUES: dict[str, tuple[bytes, str]] = {
    **{
        f"string of {n}": (
            changed("s", Raw(STRING, struct.pack("<Q", n))),
            f"the length of metadata 's' is {n:,}; at most",
        )
        for n in HUGE
    },
    "string over 16 MiB": (changed("s", "x" * ((16 << 20) + 1)), "is 16,777,217; at most 16,777,216"),
    "string over the file": (changed("s", Raw(STRING, struct.pack("<Q", 9999))), "is 9,999, which the"),
    "array string of 2**63": (
        changed("s", array_of(STRING, 1, struct.pack("<Q", 1 << 63))),
        "the length of metadata 's'[0] is",
    ),
    "array string over the file": (
        changed("s", array_of(STRING, 1, struct.pack("<Q", 9999))),
        "metadata 's'[0] ends at",
    ),
    **{f"array of {n}": (changed("a", array_of(0, n)), f"is {n:,}; at most 67,108,864") for n in HUGE},
    **{f"{n} strings": (changed("a", array_of(STRING, n)), f"is {n:,}; at most 67,108,864") for n in HUGE},
    "array over 64 Mi": (changed("a", array_of(0, (64 << 20) + 1)), "is 67,108,865; at most 67,108,864"),
    "array over the file": (changed("a", array_of(11, 99_999)), "is 99,999, which the"),
    "array of arrays": (
        changed("a", array_of(ARRAY, 1, struct.pack("<IQ", 0, 0))),
        "'a' is an array of arrays",
    ),
    "arrays 1,000 deep": (
        changed("a", Raw(ARRAY, struct.pack("<IQ", 9, 1) * 1000)),
        "'a' is an array of arrays",
    ),
    "unknown type": (changed("a", Raw(13, b"")), "metadata 'a' is of type 13"),
    "unknown item type": (changed("a", array_of(4711, 1)), "metadata 'a' has items of type 4711"),
    "boolean 2": (changed("a", Raw(BOOL, b"\2")), "metadata 'a' has a boolean of value 2"),
    "boolean 255 in an array": (changed("a", array_of(BOOL, 3, b"\0\1\xff")), "a boolean of value 255"),
    "key twice": (pairs(("k", 1), ("k", 2)), "metadata key 'k' is there twice"),
    "key not UTF-8": (pairs((b"k\xff", 1)), "metadata key 18 is not UTF-8: b'k\\xff'"),
    "key empty": (pairs(("", 1)), "metadata key 18 is empty"),
    "key with NUL": (pairs(("general.alignment\0x", 1)), "control characters: 'general.alignment\\x00x'"),
    "key with an escape": (pairs(("\x1b[2J", 1)), "control characters: '\\x1b[2J'"),
    "key of 64 KiB": (pairs(("k" * 65_536, 1)), "the length of metadata key 18 is 65,536; at most 65,535"),
}

ALIGNMENTS: dict[str, tuple[bytes, str]] = {
    f"alignment {value!r}": (changed("general.alignment", value), "general.alignment is ")
    for value in (
        0,
        1,
        3,
        4,
        33,
        48,
        -32,
        1 << 31,
        1 << 32,
        1 << 63,
        32.0,
        "32",
        True,
        array("I", [32]),
        ("32",),
    )
}

TENSORS: dict[str, tuple[bytes, str]] = {
    "no dimensions": (spec(shape=()), "tensor 't' has 0 dimensions; 1 to 4"),
    "five dimensions": (spec(shape=(1,) * 5), "tensor 't' has 5 dimensions"),
    "2**32-1 dimensions": (spec(num_dimensions=(1 << 32) - 1), "has 4,294,967,295 dimensions"),
    "empty dimension": (spec(shape=(32, 0), offset=0), "tensor 't' of shape (32, 0) is empty"),
    "2**64-1 elements": (spec(shape=((1 << 64) - 1,), offset=0), "too large to count"),
    "product over 2**64": (spec(shape=(1 << 32, 1 << 32, 1, 1), offset=0), "too large to count"),
    "product that wraps to 32": (spec(shape=(1 << 33, 1 << 31, 32), offset=0), "too large to count"),
    "size over 2**63": (spec(shape=(1 << 40, 1 << 22), offset=0), "but the file has"),
    "size over the file": (spec(shape=(1 << 20,), offset=0), "of the tensor data, but the file has 224 of them"),
    "row not of whole blocks": (spec(shape=(33, 32), type_id=2), "rows of 33 numbers; Q4_0 needs a multiple of 32"),
    "row of half a block": (spec(shape=(128, 2), type_id=12), "rows of 128 numbers; Q4_K needs a multiple of 256"),
    "offset not aligned": (spec(offset=225), "tensor 't' has offset 225; a multiple of 32"),
    "offset at the end": (spec(offset=256), "takes bytes 256 to 384 of the tensor data, but the file has 224"),
    "offset 2**63": (spec(offset=1 << 63), "but the file has 224 of them"),
    "offset 2**64-32": (spec(offset=(1 << 64) - 32), "but the file has 224 of them"),
    "overlap": (spec(offset=64, shape=(8,)), "tensor 't' overlaps tensor 'token_embd.weight'"),
    "the same place": (spec(offset=0, shape=(8,)), "overlaps"),
    **{
        f"removed type {name}": (spec(type_id=type_id), f"of unknown type {type_id} ({name}, removed)")
        for type_id, name in REMOVED_TENSOR_TYPES.items()
    },
    **{f"unknown type {n}": (spec(type_id=n), f"of unknown type {n}") for n in (43, 4711, (1 << 32) - 1)},
    "name twice": (spec("output_norm.weight"), "tensor 'output_norm.weight' is there twice"),
    "name of 65 bytes": (spec(TOO_LONG), "the length of the name of tensor 2 is 65; at most 64"),
    "name not UTF-8": (spec(b"\xc3\x28"), "the name of tensor 2 is not UTF-8"),
    "name empty": (spec(""), "the name of tensor 2 is empty"),
    "name with NUL": (spec("a\0b"), "the name of tensor 2 is empty or has control characters"),
    "data start beyond the file": (
        build(tiny_metadata(), (EMBEDDING,))[:-200], "takes bytes 0 to 192 of the tensor data, but the file has 0"
    ),
}  # fmt: skip


def tokenizer(name: str, value: Any) -> bytes:
    return changed(f"tokenizer.ggml.{name}", value)


TOKEN_TYPES = tiny_metadata()["tokenizer.ggml.token_type"]
BAD_BYTE_TOKENS = (
    "<0x-1>",
    "<0x1>",
    "<0x>",
    "<0x0G>",
    "<0x0A",
    "<0x00A>",
    "<0X0A>",
    "a",
    "",
    "<0x 1>",
    "<0x0A>\n",
)

MODELS: dict[str, tuple[bytes, str]] = {
    "no architecture": (changed("general.architecture", None), "general.architecture is missing"),
    **{
        f"architecture {value!r}": (changed("general.architecture", value), "general.architecture is ")
        for value in (7, "", "a b", "../x", "x" * 65, True, ("llama",))
    },
    **{
        f"{key} {value!r}": (changed(key, value), f"{key} is ")
        for key, values in {
            "llama.block_count": ("2", 0, 513, -1, 1 << 32, 1 << 63, 2.0, True, array("I", [2])),
            "llama.context_length": ("64", 0, -1, 1 << 31, 0.5),
            "llama.embedding_length": ("8", 0, 1 << 25, 8.0),
            "llama.attention.head_count": ("4", -1, 1 << 25, 4.0, True, ("4",)),
            "llama.attention.head_count_kv": ("2", -1, 1 << 63),
            "llama.attention.key_length": ("2", -1),
            "llama.attention.value_length": (("2",), 1.0),
            "llama.vocab_size": ("6", 0),
            "llama.pooling_type": ("mean", -1),
            "llama.expert_count": (-1, 1 << 32),
            "general.file_type": ("Q4_0", -1, 2.0),
            "general.type": (1,),
            "general.name": (1, ("a",)),
            "split.count": ("3", -1, 1 << 32),
            "split.no": ("0",),
            "tokenizer.chat_template": (1, ("a",)),
            "tokenizer.ggml.model": (1,),
        }.items()
        for value in values
    },
    "an empty per-layer array": (changed("llama.attention.head_count", array("I")), "has 0 items"),
    "513 layers": (changed("llama.attention.head_count", array("I", [1] * 513)), "has 513 items"),
    "float layers": (changed("llama.attention.head_count_kv", array("f", [1, 1])), "of type 'f'"),
    "a negative layer": (changed("llama.attention.head_count_kv", array("i", [1, -1])), "head_count_kv[1] is -1"),
    "tokens not an array": (tokenizer("tokens", "abc"), "tokens is 'abc'; an array of strings"),
    "tokens numbers": (tokenizer("tokens", array("I", [1])), "tokens is an array of 1 items; an array of strings"),
    "tokens booleans": (tokenizer("tokens", (True,)), "tokens is an array of 1 items; an array of strings"),
    "tokens empty": (tokenizer("tokens", ()), "tokens is empty"),
    "a token twice": (tokenizer("tokens", (*TOKENS[:5], "a")), "items 3 and 5 are both 'a'"),
    "a token too few": (tokenizer("tokens", TOKENS[:5]), "has 5 items, but token_embd.weight has the shape (8, 6)"),
    "embedding of one dimension": (
        tiny_model(tensors=(TensorSpec("token_embd.weight", (48,)),)), "token_embd.weight has the shape (48,)"
    ),
    "scores too few": (tokenizer("scores", array("f", [0.0] * 5)), "scores has 5 items, but"),
    "scores doubles": (tokenizer("scores", array("d", [0.0] * 6)), "scores is an array of 6 items; an array of 32-bit"),
    "scores a number": (tokenizer("scores", 0.5), "scores is 0.5; an array of 32-bit"),
    "token types too many": (tokenizer("token_type", array("i", [1] * 7)), "token_type has 7 items, but"),
    "token types bytes": (tokenizer("token_type", array("B", [1] * 6)), "token_type is an array of 6 items"),
    "token types strings": (tokenizer("token_type", TOKENS), "token_type is an array of 6 items"),
    **{
        f"byte token {token!r}": (tokenizer("tokens", (*TOKENS[:2], token, "x", "y", "z")), f"tokens[2] is {token!a}")
        for token in BAD_BYTE_TOKENS
    },
    **{
        f"{name} {value!r}": (tokenizer(name, value), f"tokenizer.ggml.{name} is {value!a}; an integer from 0 to 5")
        for name in ("bos_token_id", "eos_token_id", "fim_pre_token_id", "newly_named_token_id")
        for value in (6, -2, 1 << 31, 1 << 63, "1", 1.5, True)
    },
    "merges a string": (tokenizer("merges", "a b"), "merges is 'a b'; an array of strings"),
    **{
        f"merge {merge!r}": (tokenizer("merges", ("a b", merge)), f"merges[1] is {merge!a}; two tokens")
        for merge in ("ab", "", " ", "a ", " b")
    },
    "suppressed beyond": (tokenizer("suppress_tokens", array("i", [0, 6])), "suppress_tokens has 0 to 6; 0 to 5"),
    "suppressed negative": (tokenizer("suppress_tokens", array("i", [-1])), "suppress_tokens has -1 to -1"),
    "suppressed floats": (tokenizer("suppress_tokens", array("f", [1])), "suppress_tokens is an array of 1"),
}  # fmt: skip

HOSTILE = HEADERS | VALUES | ALIGNMENTS | TENSORS | MODELS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "model.gguf"


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("data", "words"), HOSTILE.values(), ids=HOSTILE)
def test_refuses(place: Path, data: bytes, words: str) -> None:
    place.write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(FormatError) as error:
        read(place)
    assert time.perf_counter() - start < MAX_SECONDS
    assert words in error.value.message
    assert error.value.hint


def test_the_file_that_the_hostile_ones_are_made_from_is_good(place: Path) -> None:
    for data in (GOOD, spec(), pairs(("k", 1))):
        place.write_bytes(data)
        assert read(place).size_bytes == len(data)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "not a regular file, but a FIFO"),
        (os.mkdir, "not a regular file, but a directory"),
        (a_device, "not a regular file, but a device"),
        (a_socket, "not a regular file, but a socket"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: None, "cannot be read: No such file"),
    ],
)
@pytest.mark.parametrize("through_link", [False, True])
def test_refuses_what_is_no_file(
    tmp_path: Path, make: Callable[[Path], None], words: str, through_link: bool
) -> None:
    path = tmp_path / "x"
    make(path)
    if through_link:
        (tmp_path / "link").symlink_to("x")
        path = tmp_path / "link"
    start = time.perf_counter()
    with pytest.raises(FormatError, match=words):
        read(path)
    assert time.perf_counter() - start < MAX_SECONDS


@pytest.mark.parametrize("exchanged_for", [os.mkfifo, os.mkdir])
def test_refuses_a_file_exchanged_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged_for: Callable[[Path], None]
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(GOOD)
    exchanged_for(bad)
    looked_at = good.stat()
    monkeypatch.setattr(Path, "stat", lambda self: looked_at)
    with pytest.raises(FormatError, match="not a regular file"):
        read(bad)


def test_says_that_a_file_shrank_while_it_was_read(place: Path) -> None:
    place.write_bytes(GOOD)
    with FileIO(place) as file, pytest.raises(FormatError, match="shrank"):
        Source(file, len(GOOD) + 100).raw(len(GOOD) + 1, "all")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("item_type", "count", "words"),
    [
        (STRING, 64 << 20, "strings and booleans to 67,108,872"),
        (BOOL, 64 << 20, "booleans"),
        (10, 64 << 20, "header may take"),
    ],
)
def test_refuses_a_sparse_file_of_great_arrays(place: Path, item_type: int, count: int, words: str) -> None:
    with place.open("wb") as file:
        file.write(changed("a", array_of(item_type, count)))
        file.truncate(1 << 30)
    start = time.perf_counter()
    with pytest.raises(FormatError, match=words):
        read(place)
    assert time.perf_counter() - start < MAX_SECONDS


def test_a_name_that_a_message_shows_is_cut_and_escaped(place: Path) -> None:
    place.write_bytes(pairs(("k" * 500, Raw(99, b""))))
    with pytest.raises(FormatError) as error:
        read(place)
    assert len(error.value.message) < 200
    place.write_bytes(pairs(("ключ", Raw(STRING, string("x")[:8]))))
    with pytest.raises(FormatError) as error:
        read(place)
    assert error.value.message.isascii()
