"""The log-probabilities of an answer's tokens, in llama-server's words. Their bytes, one after another, are the answer."""

from collections import deque
from typing import Any

from hutch.engines.onnx.answer import End, Piece
from hutch.engines.onnx.sampling import Choice
from hutch.engines.onnx.text import Tokens

JsonDict = dict[str, Any]


class Probabilities:
    """Tells of each token once its text is a part of the answer: what a stop string takes away is in neither."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._waiting: deque[tuple[Choice, bytes]] = deque()
        self._num_bytes = 0  # of the answer, that no token has been told for

    def feed(self, piece: Piece) -> list[JsonDict]:
        """What can be told now; nothing where nobody asked."""
        if piece.choice.logprob is None:
            return []
        self._waiting.append((piece.choice, piece.written))
        return self._told(piece.text)

    def end(self, end: End) -> list[JsonDict]:
        """What is left to tell."""
        told = self._told(end.text)
        for choice, written in self._waiting:
            # Of the token in which a stop string begins, there is what comes before it.
            piece = written[: self._num_bytes] if end.stopping_word else written
            if piece or not end.stopping_word:
                told.append(self._json(choice, piece))
            self._num_bytes = 0
        self._waiting.clear()
        return told

    def _told(self, text: str) -> list[JsonDict]:
        self._num_bytes += len(text.encode())
        told = []
        while self._waiting and len(self._waiting[0][1]) <= self._num_bytes:
            choice, written = self._waiting.popleft()
            self._num_bytes -= len(written)
            told.append(self._json(choice, written))
        if not self._waiting:  # bytes that are no UTF-8 are more in the answer, where U+FFFD stands for them
            self._num_bytes = 0
        return told

    def _json(self, choice: Choice, written: bytes) -> JsonDict:
        assert choice.logprob is not None  # noqa: S101  it was asked for
        top = [_entry(token, logprob, self._tokens.bytes_of(token)) for token, logprob in choice.top]
        return {**_entry(choice.token, choice.logprob, written), "top_logprobs": top}


def _entry(token: int, logprob: float, piece: bytes) -> JsonDict:
    """A token; what is no whole character is U+FFFD as text."""
    return {
        "id": token,
        "token": piece.decode(errors="replace"),
        "bytes": list(piece),
        "logprob": logprob,
    }
