"""When those who were sent away may come back, and that there is a place for them then. It is told the time."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque

_KEPT_S = 2.0  # for how long a place is kept: who was told a time needs a moment to come
_KEPT_SHARE = (
    0.9  # of a line, at most: not all who were told a time come, and the slots shall never lack work
)


class Promises:
    """One promise after the other: a place falls free each time that one of the slots does."""

    def __init__(self, max_queue: int, num_slots: int) -> None:
        self._max_queue = max_queue
        self._num_slots = num_slots
        self._until = 0.0
        self._times: list[float] = []  # of all of them, which only grow
        self._by_principal: defaultdict[str, deque[float]] = defaultdict(deque)

    def make(self, now: float, who: str, mean_service_s: float) -> float:
        """The time at which a request that is sent away now will find a place: behind all who were sent away before."""
        self._until = max(now, self._until) + mean_service_s / self._num_slots
        at = now + max(1, math.ceil(self._until - now))  # as it is told, in whole seconds
        at = max(at, self._times[-1]) if self._times else at
        self._times.append(at)
        self._by_principal[who].append(at)
        return at

    def redeem(self, now: float, who: str) -> bool:
        """Whether this principal comes because it was told to. A promise is good for one request."""
        mine = self._by_principal.get(who, deque())
        while mine and mine[0] < now - _KEPT_S:
            mine.popleft()
        is_due = bool(mine) and mine[0] <= now
        if is_due:
            del self._times[bisect_left(self._times, mine.popleft())]
        if not mine:
            self._by_principal.pop(who, None)
        return is_due

    def places_kept(self, now: float, mean_service_s: float) -> int:
        """How many places of the line are not for newcomers: those of promises that come due before it will have passed."""
        del self._times[: bisect_left(self._times, now - _KEPT_S)]
        passed_at = now + self._max_queue * mean_service_s / self._num_slots
        return min(bisect_right(self._times, passed_at), int(self._max_queue * _KEPT_SHARE))
