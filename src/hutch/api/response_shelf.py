"""Responses that are kept for a while: in memory alone, for whoever asked, and no more than fit."""

from collections import OrderedDict, deque
from dataclasses import dataclass

from pydantic_core import to_json

from hutch.api.openai_wire import JsonDict
from hutch.core.access import Principal
from hutch.core.errors import NotFound

_MAX_RESPONSES = 10_000
_MAX_BYTES = 256 << 20


@dataclass(slots=True)
class Kept:
    """A response, what was asked for it, and what had been said before that, of which the size is known."""

    response: JsonDict
    items: list[JsonDict]
    before: list[JsonDict]
    before_bytes: int = 0
    said_bytes: int = 0  # of the conversation up to the end of the response
    size_bytes: int = 0  # of everything

    def conversation(self) -> list[JsonDict]:
        """All that has been said, up to the end of the response."""
        return [*self.before, *self.items, *self.response["output"]]


class NoResponse(NotFound):
    """No response of that name is kept for this principal."""

    code = "response_not_found"


class Shelf:
    """The kept responses of everybody. What was asked for least lately goes first where there are too many.

    Nobody who holds more than a quarter of the room gets more of it at the cost of others.
    """

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
        said = len(to_json([kept.items, kept.response["output"]]))
        head = len(to_json(kept.response | {"output": []}))
        # What came before counts in full: its items may be shared, but nothing keeps them alive for less.
        kept.said_bytes = kept.before_bytes + said
        self._size_bytes += kept.said_bytes + head - kept.size_bytes
        kept.size_bytes = kept.said_bytes + head
        if kept.size_bytes > self._max_bytes:
            self._drop((who, kept.response["id"]))
        if self._is_too_full():
            self._make_room(who)

    def _is_too_full(self) -> bool:
        return len(self._kept) > self._max_responses or self._size_bytes > self._max_bytes

    def _make_room(self, who: Principal) -> None:
        """Let responses go until the rest fits: this principal's own while it holds too much, then anybody's."""
        own = deque(key for key in self._kept if key[0] == who)
        own_bytes = sum(self._kept[key].size_bytes for key in own)
        while self._is_too_full():
            holds_much = len(own) * 4 > self._max_responses or own_bytes * 4 > self._max_bytes
            key = own[0] if holds_much else next(iter(self._kept))
            if own and key == own[0]:
                own_bytes -= self._kept[own.popleft()].size_bytes
            self._drop(key)

    def _drop(self, key: tuple[Principal, str]) -> None:
        self._size_bytes -= self._kept.pop(key).size_bytes

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
        self.get(who, name)
        self._drop((who, name))
