"""Who goes next, who has to go, and when to come back.

Weighted fair sharing by tokens, as in "Fairness in Serving Large Language Models" (Sheng and others, OSDI 2024): each principal
has a counter of the service it got, divided by its weight, and the lowest counter goes first. Whoever comes back after a
pause starts where those are who waited meanwhile: a pause saves nothing up.

Pure: touches no clock, no queue and no slot.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hutch.core.access import Principal

COMPLETION_COST = 4.0  # a token that is written takes about as long as so many that are read: measured 3 to 5
_HELD_COST = 256.0  # what a slot counts for in advance: its tokens are counted only as they come
EXPECTED_S = 300.0  # for how long somebody who asked is expected to ask again
_MIN_RETRY_S = 1


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that waits. `number` counts up."""

    number: int
    who: Principal

    @property
    def priority(self) -> int:
        """A higher one goes first."""
        return self.who.allowance.priority


def cost(prompt_tokens: float, completion_tokens: float, weight: float) -> float:
    """What this much service adds to a principal's counter."""
    return (prompt_tokens + COMPLETION_COST * completion_tokens) / weight


def lifted(counter: float, floor: float, active: Iterable[float]) -> tuple[float, float]:
    """The counter of somebody who was not active and is now, and the new floor.

    `active` are the counters of those who are; where nobody is, `floor` is what it was when somebody last was.
    """
    floor = max(floor, min(active, default=floor))
    return max(counter, floor), floor


def may_hold(num_slots: int, *, are_others_expected: bool) -> int:
    """How many slots one principal may hold: one is kept free for others who are expected, where there are two."""
    return num_slots - 1 if are_others_expected and num_slots > 1 else num_slots


def next_up(
    line: Collection[Ticket],
    counters: Mapping[str, float],
    held: Mapping[str, int],
    may_hold: Mapping[str, int],
) -> Ticket | None:
    """Whose turn it is; None where nobody who waits may have a slot.

    `counters`, `held` (slots now) and `may_hold` (slots at most) are by principal. Between principals it goes by
    priority and then by counter; within one by deadline and then by number, so that a deadline gains nothing over others.
    """

    def rank(ticket: Ticket) -> tuple[float, float, float, int]:
        who = ticket.who
        ahead = held.get(who.id, 0) * _HELD_COST / who.allowance.weight
        deadline = math.inf if who.begin_by is None else who.begin_by
        return -ticket.priority, counters.get(who.id, 0.0) + ahead, deadline, ticket.number

    allowed = (ticket for ticket in line if held.get(ticket.who.id, 0) < may_hold.get(ticket.who.id, 1))
    return min(allowed, key=rank, default=None)


def displaced(line: Collection[Ticket], who: Principal) -> Ticket | None:
    """Who leaves a full line for this newcomer; None where the newcomer has to go.

    It is the last request of whoever has the most of the line for its weight, if that is more than the newcomer would have
    with this one; or somebody of a lower priority.
    """
    if not line:
        return None
    waiting = Counter(ticket.who.id for ticket in line)

    def burden(ticket: Ticket) -> tuple[int, float, int]:
        share = waiting[ticket.who.id] / ticket.who.allowance.weight
        return -ticket.priority, share, ticket.number

    last = max(line, key=burden)
    mine = who.allowance.priority
    if last.priority != mine:
        return last if last.priority < mine else None
    share = waiting[last.who.id] / last.who.allowance.weight
    return last if share > (waiting[who.id] + 1) / who.allowance.weight else None


def retry_after_s(now: float, at: float) -> int:
    """Whole seconds until then, and at least one."""
    return max(_MIN_RETRY_S, math.ceil(at - now))
