"""What a row of the cache holds, in a file: a line of JSON, its tokens, then each layer's keys and values.

Runs between two steps of the batch, on its thread.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hutch.core.errors import BadInput
from hutch.engines.onnx.rows import Rows

_MARK = "hutch row 1"
_MAX_HEAD_BYTES = 1 << 20
_TOKEN = np.dtype("<i4")


def save(rows: Rows, slot: int, path: Path) -> int:
    """Write what a slot's row holds, and return how many tokens that is. Raises BadInput where an answer is being written there."""
    row = rows.free(slot)
    if row is None:
        raise BadInput(f"id_slot: slot {slot} is busy", param="id_slot")
    tokens = np.asarray(row.tokens[: row.num_held], _TOKEN)
    arrays = rows.views(row, row.num_held)
    with path.open("wb") as file:
        file.write(_head(len(tokens), arrays))
        file.write(tokens.tobytes())
        for each in arrays:
            file.write(np.ascontiguousarray(each).data)
    return row.num_held


def restore(rows: Rows, slot: int, path: Path) -> int:
    """Fill a slot's row with what `save` wrote, and return how many tokens that is. Raises BadInput where it is not this model's."""
    with path.open("rb") as file:
        head = file.readline(_MAX_HEAD_BYTES)
        num_tokens = _num_tokens(head)
        tokens = np.frombuffer(file.read(num_tokens * _TOKEN.itemsize), _TOKEN)
        row = rows.lay(slot, tokens.tolist()) if len(tokens) == num_tokens else None
        if row is None:
            raise BadInput(f"slot {slot} has no room for {num_tokens} tokens")
        arrays = rows.views(row, num_tokens)
        try:
            if head != _head(num_tokens, arrays):
                raise BadInput("the state is not of this model")
            for each in arrays:
                data = np.empty(each.shape, each.dtype)
                if file.readinto(data.data.cast("B")) != data.nbytes:
                    raise BadInput("the end of the state is missing")
                each[:] = data
        except BaseException:
            rows.spoil(row)
            raise
    return num_tokens


def _head(num_tokens: int, arrays: Any) -> bytes:
    shapes = [[each.dtype.str, *each.shape] for each in arrays]
    return json.dumps([_MARK, num_tokens, shapes]).encode() + b"\n"


def _num_tokens(head: bytes) -> int:
    try:
        mark, num_tokens, _ = json.loads(head)
    except (ValueError, TypeError) as error:
        raise BadInput("it is no state of a row") from error
    if mark != _MARK or type(num_tokens) is not int or num_tokens < 1:
        raise BadInput("it is no state of a row")
    return num_tokens
