"""Guessing an answer's next tokens without a second model: what followed where its last few tokens stood before.

A guess that comes to nothing costs the time of the tokens that it holds. So what would have been guessed is compared with
what comes even where nothing is guessed, and guesses begin once that was right, grow while it is, and end when it is not. Touches no
clock: the same tokens always make the same guesses.
"""

from collections.abc import Sequence

_NUM_ALIKE = 3  # tokens that must have stood there before
_NUM_RIGHT = 2  # guesses in a row that must have been right


class Guesses:
    """Those of one answer. `max_num`: how many tokens one may hold."""

    def __init__(self, max_num: int) -> None:
        self._max_num = max_num
        self._follows: dict[tuple[int, ...], int] = {}
        self._num_known = _NUM_ALIKE  # the places before this one are in `_follows`
        self._guess: Sequence[int] = ()
        self._at = 0
        self._num_right = 0
        self._is_made = False  # else it is only compared
        self.num_made = self.num_true = 0

    def next(self, tokens: Sequence[int], limit: int) -> Sequence[int]:
        """What is worth looking over, at most `limit` tokens; often nothing. `tokens`: the prompt's and the answer's so far."""
        self._judge(tokens)
        place = self._place(tokens)
        num = min(self._max_num, self._num_right) if self._num_right >= _NUM_RIGHT else 0
        self._is_made = bool(place) and min(num, limit) > 0
        self._at = len(tokens)
        self._guess = tokens[place : place + max(1, min(num, limit))] if place else ()
        return self._guess if self._is_made else ()

    def _judge(self, tokens: Sequence[int]) -> None:
        """Compare the last guess with what came."""
        came = tokens[self._at : self._at + len(self._guess)]
        num_true = 0
        while num_true < len(came) and came[num_true] == self._guess[num_true]:
            num_true += 1
        if self._is_made:
            self.num_made, self.num_true = self.num_made + len(self._guess), self.num_true + num_true
        is_right = bool(came) and num_true == len(came)
        self._num_right = self._num_right + num_true if is_right else 0

    def _place(self, tokens: Sequence[int]) -> int:
        """Behind the last place where the last tokens stood before; 0: nowhere."""
        for end in range(self._num_known, len(tokens)):
            self._follows[tuple(tokens[end - _NUM_ALIKE : end])] = end
        self._num_known = max(self._num_known, len(tokens))
        return self._follows.get(tuple(tokens[-_NUM_ALIKE:]), 0)
