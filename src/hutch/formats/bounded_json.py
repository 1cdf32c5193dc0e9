"""JSON of a model's small files, read with bounds on what it may grow to in memory."""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from hutch.core.errors import FormatError
from hutch.formats.gguf import open_regular
from hutch.formats.gguf_source import DAMAGED, shown

MAX_BYTES = 64 << 20  # the largest tokenizers known take 34 MiB
_MAX_CONTAINERS = 3 << 20  # those have a list for each of half a million merges
_MAX_ITEMS = 8 << 20


def read(path: Path, label: str, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in a file, which errors call `label`. Raises FormatError."""
    data = read_bytes(path, label, max_bytes)
    if data.count(b"{") + data.count(b"[") > _MAX_CONTAINERS or data.count(b",") > _MAX_ITEMS:
        raise FormatError(f"{label} has too many parts to be read", hint=DAMAGED)
    try:
        document = json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = "too deep" if isinstance(error, RecursionError) else shown(str(error))
        raise FormatError(f"{label} is no JSON: {why}", hint=DAMAGED) from None
    if not isinstance(document, dict):
        raise FormatError(f"{label} is no JSON object", hint=DAMAGED)
    return document


def read_bytes(path: Path, label: str, max_bytes: int) -> bytes:
    """The bytes of a small regular file. Raises FormatError."""
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > max_bytes:
                raise FormatError(
                    f"{label} has {size_bytes:,} bytes; at most {max_bytes:,} are allowed", hint=DAMAGED
                )
            return file.read(max_bytes)
    except OSError as error:
        raise FormatError(
            f"{label} cannot be read: {error.strerror}", hint="Check that it is there."
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name is there twice")
    return document


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
