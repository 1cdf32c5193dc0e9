"""How much of a prompt is read between two steps of the answers that are being written. Touches no clock."""

_MAX_SLOWER = 2.5  # a long prompt makes the time between two tokens of the others so many times as long
_WHOLE_S = 0.25  # a prompt that takes no longer is read at once: many short ones at a time would else all wait for each other
_IDLE_S = 0.25  # where nobody waits; a client that leaves is noticed between two chunks
_FIRST_CHUNK = 64  # before anything is known
_GRAIN = 16  # kernels work on tiles of rows
_WEIGHT = 0.3  # of the newest measurement


class Pace:
    """What steps cost here, learnt from those that were run."""

    def __init__(self, max_chunk: int) -> None:
        self._max_chunk = max(_GRAIN, max_chunk)
        self._token_s = 0.0
        self._step_s: dict[int, float] = {}
        self._credit_s = (
            0.0  # time that chunks may still take, by the steps that were run since; below 0 they took more
        )

    def chunk(self, num_left: int, num_whole: int, num_decoding: int, num_busy: int) -> int:
        """How many tokens of a prompt to read now; none where chunks have held the answers up for long enough.

        `num_left` of its `num_whole` tokens are to be read; `num_decoding` answers are being written, and `num_busy` will be
        when all prompts are read.
        """
        if not num_decoding or num_whole * self._token_s <= _WHOLE_S:
            self._credit_s = 0.0
        elif self._credit_s < 0:
            return 0
        num = min(num_left, self._allowed(num_whole, num_decoding, num_busy))
        return num - 1 if num_left - num == 1 and num > 1 else num  # no last chunk of a single token

    def prefilled(self, num_tokens: int, took_s: float) -> None:
        """A chunk was read."""
        self._token_s = _mean(self._token_s, took_s / num_tokens)
        self._credit_s -= took_s

    def decoded(self, num_rows: int, took_s: float) -> None:
        """A step was run, choosing the tokens included."""
        self._step_s[num_rows] = _mean(self._step_s.get(num_rows, 0.0), took_s)
        self._credit_s = min(0.0, self._credit_s + (_MAX_SLOWER - 1) * took_s)

    def _allowed(self, num_whole: int, num_decoding: int, num_busy: int) -> int:
        if not self._token_s:
            return min(_FIRST_CHUNK, self._max_chunk)
        if not num_decoding:
            return self._worth(_IDLE_S)
        if num_whole * self._token_s <= _WHOLE_S:
            return self._max_chunk
        return self._worth((_MAX_SLOWER - 1) * self._expected_step_s(num_busy))

    def _worth(self, budget_s: float) -> int:
        num = int(budget_s / self._token_s) // _GRAIN * _GRAIN
        return min(max(num, _GRAIN), self._max_chunk)

    def _expected_step_s(self, num_rows: int) -> float:
        """Of as many rows, else of the number nearest to it."""
        if not self._step_s:
            return 0.0
        return self._step_s[min(self._step_s, key=lambda known: abs(known - num_rows))]


def _mean(before: float, now: float) -> float:
    return now if not before else before + _WEIGHT * (now - before)
