"""How often long work tells how far it is."""

import time

EVERY_S = 0.08


class Pace:
    """Says when the next report is due: at once, and then every so often."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def is_due(self) -> bool:
        """Whether to report now."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + EVERY_S
        return True
