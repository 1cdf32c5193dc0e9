"""Streams of JSON objects, cut out of bytes as they come: one object a line, or server-sent events."""

from collections.abc import Iterator
from typing import Protocol

from hutch.sdk.failures import BadAnswer, BrokenOff, told_failure
from hutch.sdk.fields import Fields

MAX_LINE_BYTES = 16 << 20


class Pieces(Protocol):
    """Takes bytes, and gives the objects that are whole."""

    def feed(self, data: bytes) -> Iterator[Fields]:
        """The objects that these bytes end. Raises what an object with `error` tells, and BadAnswer."""

    def end(self) -> Iterator[Fields]:
        """Nothing more comes: a last object that no line feed ended. Raises BrokenOff in the middle of one."""


class Cutter:
    """Cuts bytes into lines at line feeds alone: text may hold every other sign that Unicode ends lines with."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def lines(self, data: bytes) -> Iterator[bytes]:
        """The lines that these bytes end. Raises BadAnswer for one without an end."""
        *whole, rest = data.split(b"\n")
        for part in whole:
            yield b"".join((*self._begun, part))
            self._begun, self._begun_bytes = [], 0
        if rest:
            self._begun.append(rest)
            self._begun_bytes += len(rest)
        if self._begun_bytes > MAX_LINE_BYTES:
            raise BadAnswer(f"the server sent a line of more than {MAX_LINE_BYTES >> 20} MiB")

    @property
    def rest(self) -> bytes:
        """What came after the last line."""
        return b"".join(self._begun)


class Lines:
    """One JSON object a line."""

    def __init__(self) -> None:
        self._cutter = Cutter()

    def feed(self, data: bytes) -> Iterator[Fields]:
        """The objects that these bytes end. Raises what an object with `error` tells, and BadAnswer."""
        for line in self._cutter.lines(data):
            if line.strip():
                yield _checked(Fields.parse(line))

    def end(self) -> Iterator[Fields]:
        """Nothing more comes: a last object that no line feed ended. Raises BrokenOff in the middle of one."""
        is_object = self._cutter.rest.lstrip().startswith(b"{")
        try:
            yield from self.feed(b"\n")
        except BadAnswer as error:
            if is_object:
                raise BrokenOff("the server's answer ended in the middle of a line") from error
            raise


class ServerEvents:
    """Server-sent events whose data are JSON objects with a type in them."""

    def __init__(self) -> None:
        self._cutter = Cutter()

    def feed(self, data: bytes) -> Iterator[Fields]:
        """The objects that these bytes end. Raises what an object with `error` tells, and BadAnswer."""
        for line in self._cutter.lines(data):
            name, _, value = line.rstrip(b"\r").partition(b":")
            if name == b"data" and value.strip() != b"[DONE]":  # each of Hutch's events is one line of data
                event = Fields.parse(value)
                if event.text("type") == "error":
                    raise told_failure({"error": event.raw})
                yield _checked(event)
            elif name not in (b"", b"event", b"id", b"retry", b"data"):
                raise BadAnswer(f"the server sent what is no event: {line[:80]!r}")

    def end(self) -> Iterator[Fields]:
        """Nothing more comes. Raises BrokenOff in the middle of an event."""
        if self._cutter.rest.strip():
            raise BrokenOff("the server's answer ended in the middle of an event")
        yield from ()


def _checked(told: Fields) -> Fields:
    if told.raw.get("error") is not None:
        raise told_failure(told.raw)
    return told
