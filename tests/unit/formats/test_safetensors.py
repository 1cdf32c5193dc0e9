"""Safetensors files, good ones and ones made to do harm."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import FormatError
from hutch.formats import safetensors

GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def file_of(header: object, data: bytes = bytes(24), length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def test_reads_what_a_good_file_has(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = bytes(range(24))
    path.write_bytes(file_of({"__metadata__": {"format": "pt"}, "a": GOOD}, data))
    (tensor,) = safetensors.read(path, "x").values()
    assert (tensor.name, tensor.shape, tensor.dtype) == ("a", (2, 3), "F32")
    assert b"".join(tensor.pieces()) == data
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(FormatError, match="shrank"):
        list(tensor.pieces())


def _changed(**fields: Any) -> dict[str, Any]:
    return {"a": GOOD | fields}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a safetensors file"),
        (b"GGUF", "not a safetensors file"),
        (file_of({"a": GOOD}, length=1 << 63), "claims 9,223,372,036,854,775,808 bytes"),
        (file_of({"a": GOOD}, length=(1 << 64) - 1), "claims"),
        (file_of({"a": GOOD}, length=0), "claims 0 bytes"),
        (file_of({"a": GOOD}, length=10_000), "claims 10,000 bytes"),
        (file_of(b"{nonsense"), "no JSON"),
        (file_of(b"[" * 100_000), "no JSON"),
        (file_of([GOOD]), "no JSON object"),
        (file_of({}), "0 tensors"),
        (file_of(b'{"a":%s,"a":%s}' % ((json.dumps(GOOD).encode(),) * 2)), "twice"),
        (file_of({"a": GOOD, "b": GOOD}), "overlaps"),
        (file_of({"a": [1]}), "unknown type"),
        (file_of(_changed(dtype="X7")), "unknown type"),
        (file_of(_changed(dtype=["F32"])), "unknown type"),
        (file_of(_changed(shape=[2, -3])), "shape"),
        (file_of(_changed(shape=[1 << 63])), "shape"),
        (file_of(_changed(shape=[2, 3.0])), "shape"),
        (file_of(_changed(shape=[1] * 9)), "shape"),
        (file_of(_changed(shape=[1 << 40, 1 << 40])), "does not fill"),
        (file_of(_changed(shape=[2, 4])), "does not fill"),
        (file_of(_changed(data_offsets=[0, 25])), "takes bytes 0 to 25"),
        (file_of(_changed(data_offsets=[24, 0])), "takes bytes"),
        (file_of(_changed(data_offsets=[-24, 0])), "offsets"),
        (file_of(_changed(data_offsets=[1 << 62, (1 << 62) + 24])), "offsets"),
        (file_of(_changed(data_offsets=[0])), "offsets"),
        (file_of(_changed(data_offsets=[False, 24])), "offsets"),
    ],
)
def test_a_file_that_lies_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=says):
        safetensors.read(path, "x")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(FormatError, match="not a regular file"):
            safetensors.read(path, "x")
