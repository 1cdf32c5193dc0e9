"""Stop strings, found while a text is written, one character after another.

One automaton (Aho and Corasick, 1975) for all of them: its state is the longest end of the text that may yet become a stop.
"""

from collections.abc import Sequence


class Stops:
    """Follows a text. Which pieces it comes in makes no difference: the stop that is complete first is the one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._depth = [0]
        self._fallback = [0]  # the longest other state that this one's text ends with
        self._found = [""]  # the longest stop that this state's text ends with
        for stop in stops:
            self._add(stop)
        self._link()
        self._state = 0

    @property
    def num_held(self) -> int:
        """How many of the text's last characters may be the beginning of a stop."""
        return self._depth[self._state]

    def feed(self, text: str) -> tuple[str, int]:
        """The stop that this text completes, or "", and how many characters of the text were read until then."""
        if not self._next[0]:
            return "", len(text)
        for index, char in enumerate(text):
            state = self._state
            while state and char not in self._next[state]:
                state = self._fallback[state]
            self._state = self._next[state].get(char, 0)
            if self._found[self._state]:
                return self._found[self._state], index + 1
        return "", len(text)

    def _add(self, stop: str) -> None:
        state = 0
        for char in stop:
            if char not in self._next[state]:
                self._next[state][char] = len(self._next)
                self._next.append({})
                self._depth.append(self._depth[state] + 1)
                self._fallback.append(0)
                self._found.append("")
            state = self._next[state][char]
        self._found[state] = stop

    def _link(self) -> None:
        waiting = list(self._next[0].values())
        for state in waiting:  # grows while it is gone through: shorter states come first
            for char, after in self._next[state].items():
                waiting.append(after)
                back = self._fallback[state]
                while back and char not in self._next[back]:
                    back = self._fallback[back]
                self._fallback[after] = self._next[back].get(char, 0)
                self._found[after] = self._found[after] or self._found[self._fallback[after]]
