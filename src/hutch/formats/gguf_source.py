"""A file's bytes, read from the start as a GGUF header asks for them.

Guards every length before it is believed: against its limit, against the file, against the memory that it
would take.
"""

import struct
import sys
from array import array
from io import FileIO
from typing import Any, Final

from hutch.core.errors import FormatError

MAX_STRING_BYTES = 16 << 20
# The largest headers known take 25 MiB and hold 0.8 million strings.
MAX_HEADER_BYTES = 128 << 20
MAX_OBJECTS = 2 << 20  # strings and booleans of all arrays together: the items that become Python objects

NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
STRUCTS: Final = {code: struct.Struct("<" + code) for code in NUMBERS.values()}

DAMAGED = "The file is damaged, or made to do harm. Pull it again, from a source that you trust."
INCOMPLETE = "The file is incomplete. Pull or copy it again."

_FIRST_READ_BYTES = 2 << 20


def shown(value: object) -> str:
    """A value as an error may show it: short, and with nothing that moves a terminal's cursor."""
    if isinstance(value, array | tuple):
        return f"an array of {len(value):,} items"
    text = ascii(value[:80] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 80 else text[:79] + "…"


class Source:
    """A file's bytes from its start, as far as they were needed, and the place up to which they were understood."""

    def __init__(self, file: FileIO, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.at = 0
        self._file = file
        self._data = b""
        self._num_objects = 0

    def take(self, length: int, what: str) -> int:
        """Step over `length` bytes, make sure that they are at hand, and return where they start."""
        start = self.at
        self._reach(start + length, what)
        self.at = start + length
        return start

    def number(self, code: str, what: str) -> Any:
        """Read one number of a struct code."""
        packed = STRUCTS[code]
        start = self.take(packed.size, what)
        return packed.unpack_from(self._data, start)[0]

    def raw(self, length: int, what: str) -> bytes:
        """Read bytes."""
        start = self.take(length, what)
        return self._data[start : self.at]

    def count(self, what: str, limit: int, item_bytes: int) -> int:
        """Read a 64-bit count of items that take at least `item_bytes` each."""
        count: int = self.number("Q", what)
        if count > limit:
            raise FormatError(f"{what} is {count:,}; at most {limit:,} is allowed", hint=DAMAGED)
        if count * item_bytes > (left := self.size_bytes - self.at):
            raise FormatError(
                f"{what} is {count:,}, which the {left:,} bytes that follow cannot hold", hint=INCOMPLETE
            )
        return count

    def text(self, what: str, limit: int = MAX_STRING_BYTES) -> str:
        """Read a string; wrong bytes become U+FFFD."""
        return self.raw(self.count(f"the length of {what}", limit, 1), what).decode("utf-8", "replace")

    def name(self, what: str, limit: int) -> str:
        """Read a string that names something: UTF-8, not empty, nothing that a terminal or C would take amiss."""
        raw = self.raw(self.count(f"the length of {what}", limit, 1), what)
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{what} is not UTF-8: {shown(raw)}", hint=DAMAGED) from error
        if not text.isprintable() or not text:
            raise FormatError(f"{what} is empty or has control characters: {shown(text)}", hint=DAMAGED)
        return text

    def bools(self, count: int, what: str) -> tuple[bool, ...]:
        """Read booleans."""
        self._keep_objects(count, what)
        raw = self.raw(count, what)
        if wrong := raw.translate(None, b"\0\1"):
            raise FormatError(
                f"{what} has a boolean of value {wrong[0]}; only 0 and 1 are allowed", hint=DAMAGED
            )
        return tuple(map(bool, raw))

    def numbers(self, code: str, count: int, what: str) -> "array[Any]":
        """Read numbers of a struct code."""
        values = array(code, self.raw(count * STRUCTS[code].size, what))
        if sys.byteorder == "big":
            values.byteswap()
        return values

    def texts(self, count: int, what: str) -> tuple[str, ...]:
        """Read strings. Everything a call would do is inlined: vocabularies have hundreds of thousands."""
        self._keep_objects(count, what)
        texts: list[str] = []
        append, unpack_from = texts.append, STRUCTS["Q"].unpack_from
        data, at, loaded = self._data, self.at, len(self._data)
        for index in range(count):
            start = at + 8
            if start > loaded:
                data = self._reach(start, f"{what}[{index}]")
                loaded = len(data)
            at = start + unpack_from(data, at)[0]
            if at - start > MAX_STRING_BYTES:
                found = f"the length of {what}[{index}] is {at - start:,}"
                raise FormatError(f"{found}; at most {MAX_STRING_BYTES:,} is allowed", hint=DAMAGED)
            if at > loaded:
                data = self._reach(at, f"{what}[{index}]")
                loaded = len(data)
            append(data[start:at].decode("utf-8", "replace"))
        self.at = at
        return tuple(texts)

    def _reach(self, end: int, what: str) -> bytes:
        if end > self.size_bytes:
            raise FormatError(
                f"{what} ends at byte {end:,}, but the file has {self.size_bytes:,}", hint=INCOMPLETE
            )
        if end > MAX_HEADER_BYTES:
            found = f"{what} ends at byte {end:,}"
            raise FormatError(f"{found}; the header may take {MAX_HEADER_BYTES:,} at most", hint=DAMAGED)
        while (loaded := len(self._data)) < end:
            wanted = max(end, min(2 * loaded, MAX_HEADER_BYTES), _FIRST_READ_BYTES)
            more = self._file.read(min(wanted, self.size_bytes) - loaded)
            if not more:
                hint = "Wait until it is written, and try again."
                raise FormatError("the file shrank while it was read", hint=hint)
            self._data += more
        return self._data

    def _keep_objects(self, count: int, what: str) -> None:
        self._num_objects += count
        if self._num_objects > MAX_OBJECTS:
            found = f"{what} brings the file's strings and booleans to {self._num_objects:,}"
            raise FormatError(f"{found}; at most {MAX_OBJECTS:,} are allowed", hint=DAMAGED)
