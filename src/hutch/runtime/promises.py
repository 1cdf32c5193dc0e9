"""When those who were sent away may come back, and that there is a place for them then. It is told the time."""

import math
from collections import defaultdict, deque

_KEPT_S = 2.0  # for how long a place is kept: who was told a time needs a moment to come
_KEPT_SHARE = 0.5  # of a line, at most: not all who were told a time come


class Promises:
    """One promise after the other: a place falls free each time that one of the slots does."""

    def __init__(self) -> None:
        self._until = 0.0
        self._by_principal: defaultdict[str, deque[float]] = defaultdict(deque)
        self._times: deque[float] = deque()  # of all of them, which only grow

    def make(self, now: float, who: str, mean_service_s: float, num_slots: int) -> float:
        """The time at which a request that is sent away now will find a place: behind all who were sent away before."""
        self._until = max(now, self._until) + mean_service_s / num_slots
        at = now + max(1, math.ceil(self._until - now))  # as it is told, in whole seconds
        self._by_principal[who].append(at)
        self._times.append(at)
        return at

    def redeem(self, now: float, who: str) -> bool:
        """Whether this principal comes because it was told to. A promise is good for one request."""
        mine = self._by_principal.get(who, deque())
        while mine and mine[0] + _KEPT_S < now:
            mine.popleft()
        is_due = bool(mine) and mine[0] <= now
        if is_due:
            self._times.remove(mine.popleft())
        if not mine:
            self._by_principal.pop(who, None)
        return is_due

    def places_kept(self, now: float, max_queue: int) -> int:
        """How many places of a line are not for newcomers now."""
        while self._times and self._times[0] + _KEPT_S < now:
            self._times.popleft()
        due = sum(1 for at in self._times if at <= now) if self._times and self._times[0] <= now else 0
        return min(due, int(max_queue * _KEPT_SHARE))
