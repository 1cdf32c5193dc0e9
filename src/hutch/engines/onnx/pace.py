"""How much of a prompt is read between two steps of the answers that are being written. Touches no clock."""

_MAX_SLOWER = 2.5  # a long prompt makes the time between two tokens of the others so many times as long
# A prompt that takes no longer is read at once: many short ones at a time would else all wait for each other, and somebody
# who asks little for whoever asks much. In steps for models and machines that are slow.
_WHOLE_S = 0.25
_WHOLE_STEPS = 10
_IDLE_S = 0.25  # where nobody waits; a client that leaves is noticed between two chunks
_FIRST_CHUNK = 64  # before anything is known
_GRAIN = 16  # kernels work on tiles of rows
_WEIGHT = 0.3  # of the newest measurement
_FADING = 0.9  # what older chunks count when a new one was read: their sizes have to differ to tell anything
_LEAST = 0.125  # of what a token costs on average, the chunk's own cost included: it is never taken for less


class _Cost:
    """What a chunk takes: so much for being one, and so much for each token. By least squares.

    Several users with short prompts would else make each token look as dear as a step, and a longer prompt as one for chunks.
    """

    def __init__(self) -> None:
        self._sums: tuple[float, ...] = (0.0,) * 5
        self.token_s = 0.0
        self.chunk_s = 0.0

    def learn(self, num_tokens: int, took_s: float) -> None:
        """A chunk was read."""
        new = (1.0, num_tokens, num_tokens**2, took_s, num_tokens * took_s)
        self._sums = ones, tokens, squares, seconds, products = tuple(
            _FADING * old + each for old, each in zip(self._sums, new, strict=True)
        )
        average_s = seconds / tokens
        spread = ones * squares - tokens**2
        slope_s = (ones * products - tokens * seconds) / spread if spread > 1e-6 * tokens**2 else average_s
        self.token_s = max(slope_s, _LEAST * average_s) if 0 < slope_s < average_s else average_s
        self.chunk_s = (seconds - self.token_s * tokens) / ones

    def of(self, num_tokens: int) -> float:
        """What a chunk of so many tokens would take."""
        return self.chunk_s + num_tokens * self.token_s


class Pace:
    """What steps cost here, learnt from those that were run."""

    def __init__(self, max_chunk: int) -> None:
        self._max_chunk = max(_GRAIN, max_chunk)
        self._cost = _Cost()
        self._step_s: dict[int, float] = {}
        self._credit_s = (
            0.0  # time that chunks may still take, by the steps that were run since; below 0 they took more
        )

    def chunk(self, num_left: int, num_whole: int, num_decoding: int, num_busy: int) -> int:
        """How many tokens of a prompt to read now; none where chunks have held the answers up for long enough.

        `num_left` of its `num_whole` tokens are to be read; `num_decoding` answers are being written, and `num_busy` will be
        when all prompts are read.
        """
        if not num_decoding or self._is_short(num_whole, num_busy):
            self._credit_s = 0.0
        elif self._credit_s < 0:
            return 0
        num = min(num_left, self._allowed(num_whole, num_decoding, num_busy))
        return num - 1 if num_left - num == 1 and num > 1 else num  # no last chunk of a single token

    def prefilled(self, num_tokens: int, took_s: float) -> None:
        """A chunk was read."""
        self._cost.learn(num_tokens, took_s)
        self._credit_s -= took_s

    def decoded(self, num_rows: int, took_s: float) -> None:
        """A step was run, choosing the tokens included."""
        self._step_s[num_rows] = _mean(self._step_s.get(num_rows, 0.0), took_s)
        self._credit_s = min(0.0, self._credit_s + (_MAX_SLOWER - 1) * took_s)

    def _allowed(self, num_whole: int, num_decoding: int, num_busy: int) -> int:
        if not self._cost.token_s:
            return min(_FIRST_CHUNK, self._max_chunk)
        if not num_decoding:
            return self._worth(_IDLE_S)
        if self._is_short(num_whole, num_busy):
            return self._max_chunk
        return self._worth((_MAX_SLOWER - 1) * self._expected_step_s(num_busy))

    def _is_short(self, num_whole: int, num_busy: int) -> bool:
        return self._cost.of(num_whole) <= max(_WHOLE_S, _WHOLE_STEPS * self._expected_step_s(num_busy))

    def _worth(self, budget_s: float) -> int:
        num = int((budget_s - self._cost.chunk_s) / self._cost.token_s) // _GRAIN * _GRAIN
        return min(max(num, _GRAIN), self._max_chunk)

    def _expected_step_s(self, num_rows: int) -> float:
        """Of as many rows, else of the number nearest to it."""
        if not self._step_s:
            return 0.0
        return self._step_s[min(self._step_s, key=lambda known: abs(known - num_rows))]


def _mean(before: float, now: float) -> float:
    return now if not before else before + _WEIGHT * (now - before)
