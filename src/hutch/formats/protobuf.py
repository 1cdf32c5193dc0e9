"""A file in Protocol Buffers' wire format, read a field at a time and never as a whole.

Follows "Encoding" of protobuf.dev. Every length is checked against what holds it before it is believed, and what is large
is stepped over: a message is a span of the file.
"""

import os
from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

from hutch.core.errors import FormatError
from hutch.formats.gguf_source import DAMAGED, INCOMPLETE

_VARINT, _BYTES = 0, 2
MAX_FIELDS = 150_000  # of a whole file; a graph of 700 operators has 28,000
_FIXED_BYTES = {1: 8, 5: 4}
_WINDOW_BYTES = 64 << 10
_MAX_TEXT_BYTES = 4096
_MAX_VARINT_BYTES = 10
_SHIFTS = tuple(range(0, 7 * _MAX_VARINT_BYTES, 7))


class Span(NamedTuple):
    """The bytes of a message, a text or a packed list: where they begin and end in the file."""

    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        """How many they are."""
        return self.end - self.start


class Wire:
    """A file's bytes, of which a small window is at hand."""

    def __init__(self, file: FileIO) -> None:
        self.size_bytes = os.fstat(file.fileno()).st_size
        self._file = file
        self._data = b""
        self._base = 0  # where in the file the window begins
        self._num_fields = 0

    def whole(self) -> Span:
        """All of the file."""
        return Span(0, self.size_bytes)

    def fields(self, span: Span, what: str) -> Iterator[tuple[int, int | Span]]:
        """The fields of a message: its number and its value; of all but varints, where the bytes lie.

        Raises FormatError, which calls the message `what`.
        """
        at, end = span.start, span.end
        while at < end:
            self._num_fields += 1
            if self._num_fields > MAX_FIELDS:
                raise FormatError(f"{what} is one of more than {MAX_FIELDS:,} fields", hint=DAMAGED)
            tag, at = self._varint(at, end, what)
            number, kind = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise FormatError(f"{what} has a field of number {number:,}", hint=DAMAGED)
            if kind == _VARINT:
                value, at = self._varint(at, end, what)
                yield number, value
                continue
            if kind == _BYTES:
                length, at = self._varint(at, end, what)
            elif kind in _FIXED_BYTES:
                length = _FIXED_BYTES[kind]
            else:
                raise FormatError(f"{what} has a field of wire type {kind}", hint=DAMAGED)
            if length > end - at:
                found = f"{what}: field {number} has {length:,} bytes, but only {end - at:,} follow"
                raise FormatError(found, hint=INCOMPLETE if end == self.size_bytes else DAMAGED)
            yield number, Span(at, at + length)
            at += length

    def raw(self, span: Span, what: str, limit_bytes: int) -> bytes:
        """The bytes of a span. Raises FormatError where they are more than `limit_bytes`."""
        if span.size_bytes > limit_bytes:
            raise FormatError(
                f"{what} has {span.size_bytes:,} bytes; at most {limit_bytes:,} are allowed", hint=DAMAGED
            )
        if not self._base <= span.start <= span.end <= self._base + len(self._data):
            self._move(span.start, max(span.size_bytes, _WINDOW_BYTES))
        data = self._data[span.start - self._base : span.end - self._base]
        if len(data) != span.size_bytes:
            raise FormatError("the file shrank while it was read", hint="Try again.")
        return data

    def text(self, span: Span, what: str, limit_bytes: int) -> str:
        """A text in UTF-8. Raises FormatError for other bytes."""
        raw = self.raw(span, what, limit_bytes)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise FormatError(f"{what} is not UTF-8", hint=DAMAGED) from None

    def varints(self, span: Span, what: str) -> list[int]:
        """The numbers of a packed list, which takes at most a window."""
        if span.size_bytes > _WINDOW_BYTES:
            raise FormatError(f"{what} has {span.size_bytes:,} bytes of numbers", hint=DAMAGED)
        found: list[int] = []
        at = span.start
        while at < span.end:
            value, at = self._varint(at, span.end, what)
            found.append(value)
        return found

    def _varint(self, at: int, end: int, what: str) -> tuple[int, int]:
        if not self._base <= at < self._base + len(self._data) - _MAX_VARINT_BYTES:
            self._move(at, _WINDOW_BYTES)
        data, index = self._data, at - self._base
        if at < end and index < len(data) and data[index] < 0x80:  # most are of one byte
            return data[index], at + 1
        value = 0
        for shift, byte in zip(_SHIFTS, data[index : index + min(_MAX_VARINT_BYTES, end - at)], strict=False):
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, at + shift // 7 + 1
        if end - at < _MAX_VARINT_BYTES:
            raise FormatError(f"{what} ends within a number", hint=INCOMPLETE)
        raise FormatError(f"{what} has a number of more than 64 bits", hint=DAMAGED)

    def _move(self, at: int, size_bytes: int) -> None:
        self._file.seek(at)
        self._data, self._base = self._file.read(size_bytes) or b"", at


class Message:
    """The fields of one message that are asked for, by number. Raises FormatError where one is of another kind than it must be.

    What a message has once may not be there twice: one reader would take the last, another one both.
    """

    def __init__(self, wire: Wire, span: Span, what: str, wanted: frozenset[int]) -> None:
        self._wire = wire
        self._what = what
        self._found: dict[int, list[int | Span]] = {}
        for number, value in wire.fields(span, what):
            if number in wanted:
                self._found.setdefault(number, []).append(value)

    def has(self, field: int) -> bool:
        """Whether a field is there."""
        return field in self._found

    def number(self, field: int, default: int = 0) -> int:
        """A number without a sign."""
        value = self._one(field)
        if isinstance(value, Span):
            raise self._wrong(field)
        return default if value is None else value

    def numbers(self, field: int) -> list[int]:
        """All numbers of a field, packed or not."""
        return [
            number
            for value in self._found.get(field, ())
            for number in (self._wire.varints(value, self._what) if isinstance(value, Span) else (value,))
        ]

    def span(self, field: int) -> Span | None:
        """Where a message or bytes lie; None where there are none."""
        value = self._one(field)
        if isinstance(value, int):
            raise self._wrong(field)
        return value

    def spans(self, field: int) -> list[Span]:
        """The same of a field that may be there often."""
        spans = [value for value in self._found.get(field, ()) if isinstance(value, Span)]
        if len(spans) != len(self._found.get(field, ())):
            raise self._wrong(field)
        return spans

    def text(self, field: int) -> str:
        """A short text; empty where there is none."""
        span = self.span(field)
        return "" if span is None else self._wire.text(span, f"a name in {self._what}", _MAX_TEXT_BYTES)

    def texts(self, field: int) -> tuple[str, ...]:
        """The same of a field that may be there often."""
        what = f"a name in {self._what}"
        return tuple(self._wire.text(span, what, _MAX_TEXT_BYTES) for span in self.spans(field))

    def _one(self, field: int) -> int | Span | None:
        values = self._found.get(field, ())
        if len(values) > 1:
            raise FormatError(f"{self._what} has its field {field} twice", hint=DAMAGED)
        return values[0] if values else None

    def _wrong(self, field: int) -> FormatError:
        return FormatError(f"{self._what}: its field {field} is of the wrong type", hint=DAMAGED)


def signed(value: int) -> int:
    """A varint as the 64-bit number with a sign that it stands for."""
    return value - (1 << 64) if value >> 63 else value
