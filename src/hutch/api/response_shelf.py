"""Responses that are kept for a while: in memory alone, for whoever asked, and no more than fit."""

from collections import OrderedDict
from dataclasses import dataclass

from pydantic_core import to_json

from hutch.api.openai_wire import JsonDict
from hutch.core.access import Principal
from hutch.core.errors import NotFound

_MAX_RESPONSES = 10_000
_MAX_BYTES = 256 << 20


@dataclass(slots=True)
class Kept:
    """A response, what was asked for it, and what had been said before that."""

    response: JsonDict
    items: list[JsonDict]
    before: list[JsonDict]
    size_bytes: int = 0

    def conversation(self) -> list[JsonDict]:
        """All that has been said, up to the end of the response."""
        return [*self.before, *self.items, *self.response["output"]]


class NoResponse(NotFound):
    """No response of that name is kept for this principal."""

    code = "response_not_found"


class Shelf:
    """The kept responses of everybody. What is asked for least goes first where there are too many."""

    def __init__(self, max_responses: int = _MAX_RESPONSES, max_bytes: int = _MAX_BYTES) -> None:
        self._kept: OrderedDict[tuple[Principal, str], Kept] = OrderedDict()
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._size_bytes = 0

    def put(self, who: Principal, kept: Kept) -> None:
        """Keep a response of this principal."""
        self._kept[who, kept.response["id"]] = kept
        self.weigh(who, kept)

    def weigh(self, who: Principal, kept: Kept) -> None:
        """Look anew how much a response takes, and make room."""
        if self._kept.get((who, kept.response["id"])) is not kept:
            return  # it had to go while it was being written
        # What came before counts in full: its items may be shared, but nothing keeps them alive for less.
        size_bytes = len(to_json([kept.response, kept.items])) + len(to_json(kept.before))
        self._size_bytes += size_bytes - kept.size_bytes
        kept.size_bytes = size_bytes
        while self._kept and (len(self._kept) > self._max_responses or self._size_bytes > self._max_bytes):
            self._size_bytes -= self._kept.popitem(last=False)[1].size_bytes

    def get(self, who: Principal, name: str) -> Kept:
        """A response. Raises NotFound, also for another principal's."""
        kept = self._kept.get((who, name))
        if kept is None:
            raise NoResponse(
                f"no response {name[:80]!r} is kept here",
                hint="Responses are kept in memory, for a while; with `store: false` not at all.",
            )
        self._kept.move_to_end((who, name))
        return kept

    def remove(self, who: Principal, name: str) -> None:
        """Forget a response. Raises NotFound."""
        kept = self.get(who, name)
        del self._kept[who, name]
        self._size_bytes -= kept.size_bytes
