"""Files that nobody thought of: mutants of a good one, and random ones. Each is read or refused, nothing else."""

import random
import struct
import time
import tracemalloc
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hutch.core.errors import FormatError
from hutch.formats.ggml_types import TENSOR_TYPES
from hutch.formats.gguf import GGUF, read, split_count
from tests.gguf_files import TensorSpec, build, tiny_model

GOOD = tiny_model()
MAX_SECONDS = 1.0
MAX_MEMORY_BYTES = 32 << 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.touch()
    return path


def overwrite(path: Path, data: bytes) -> None:
    # ext4 flushes a file that was cut to nothing and written anew: three milliseconds for each mutant.
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY_BYTES
    finally:
        tracemalloc.stop()


def ask_everything(model: GGUF) -> None:
    for name in dir(GGUF):
        if isinstance(getattr(GGUF, name), property):
            getattr(model, name)
    assert model.kv_bytes_per_token() >= 0
    assert (
        0 < sum(tensor.size_bytes for tensor in model.tensors) <= model.size_bytes or split_count(model) > 1
    )


def survives(path: Path, data: bytes) -> bool:
    """Read a file made of `data`; say whether it was accepted. Fails the test for anything but a FormatError."""
    overwrite(path, data)
    error: FormatError | None = None
    start = time.perf_counter()
    try:
        ask_everything(read(path))
    except FormatError as refusal:
        error = refusal
    assert time.perf_counter() - start < MAX_SECONDS
    assert error is None or (error.message and error.hint and len(error.message) < 400)
    return error is None


def test_refuses_every_truncation(place: Path) -> None:
    assert not [length for length in range(len(GOOD)) if survives(place, GOOD[:length])]


INTEGERS = (0, 1, 2, 13, 0x7F, 0xFF, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip


def mutants(count: int) -> Iterator[bytes]:
    """Files one to four bytes or one integer away from the good one, the same in every run."""
    chance = random.Random(20260101)
    for index in range(count):
        data = bytearray(GOOD)
        if index % 2:
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                data[chance.randrange(len(data))] = chance.randrange(256)
        else:
            width = chance.choice((4, 8))
            at = chance.randrange(len(data) - width)
            data[at : at + width] = struct.pack("<Q", chance.choice(INTEGERS))[:width]
        yield bytes(data)


@pytest.mark.usefixtures("little_memory")
def test_survives_mutants(place: Path) -> None:
    accepted = sum(survives(place, data) for data in mutants(4000))
    assert 400 < accepted < 3000  # else the mutants would test nothing


@pytest.mark.usefixtures("little_memory")
def test_survives_every_integer_at_every_field_of_the_header(place: Path) -> None:
    for at in range(4, 28):
        for value in INTEGERS:
            survives(place, GOOD[:at] + struct.pack("<Q", value) + GOOD[at + 8 :])


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_survives_any_bytes(place: Path, data: bytes, after_a_header: bool) -> None:
    survives(place, b"GGUF\3\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0" + data if after_a_header else data)


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2000), min_size=1, max_size=20).filter(
    str.isprintable
)
INTS = {
    code: (-(1 << bits - 1), (1 << bits - 1) - 1) for code, bits in zip("bhiq", (8, 16, 32, 64), strict=True)
} | {code: (0, (1 << bits) - 1) for code, bits in zip("BHIQ", (8, 16, 32, 64), strict=True)}


def numbers(code: str) -> st.SearchStrategy["array[Any]"]:
    return st.lists(st.integers(*INTS[code])).map(partial(array, code))


ARRAYS = st.one_of(
    [*(numbers(code) for code in INTS), st.lists(st.floats(allow_nan=False)).map(partial(array, "d"))]
)
SCALARS = st.one_of(
    st.text(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(allow_nan=False)
)
TUPLES = st.lists(st.text()).map(tuple) | st.lists(st.booleans(), min_size=1).map(tuple)


@st.composite
def tensor_specs(draw: st.DrawFn) -> TensorSpec:
    type_id = draw(st.sampled_from(sorted(TENSOR_TYPES)))
    rows = draw(st.lists(st.integers(1, 4), max_size=3))
    blocks = draw(st.integers(1, 3))
    return TensorSpec(draw(NAMES), (blocks * TENSOR_TYPES[type_id].block_size, *rows), type_id)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(NAMES.map("x.".__add__), SCALARS | ARRAYS | TUPLES, max_size=8),
    st.lists(tensor_specs(), min_size=1, max_size=6, unique_by=lambda tensor: tensor.name),
    st.sampled_from((8, 32, 256)),
)
def test_reads_back_whatever_was_written(
    place: Path, metadata: dict[str, Any], tensors: list[TensorSpec], alignment: int
) -> None:
    metadata |= {"general.architecture": "llama", "general.alignment": alignment}
    metadata = {key: value for key, value in metadata.items() if not key.endswith("_token_id")}
    overwrite(place, build(metadata, tensors, alignment=alignment))
    found = read(place)
    assert found.metadata == metadata
    assert [(tensor.name, tensor.shape, tensor.size_bytes) for tensor in found.tensors] == [
        (tensor.name, tensor.shape, tensor.size_bytes) for tensor in tensors
    ]
    ask_everything(found)
