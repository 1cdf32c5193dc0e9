"""What a model knows from documents, put into the system message: all of it where it fits, else what the question is about.

Passages are ranked by BM25 over words cut to their first letters, which finds "policies" by "policy" in most
languages that have spaces; of Chinese, Japanese and Korean each character counts as a word. Where somebody else ranked
them by meaning too, the two rankings are blended. Knows no vectors.
"""

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hutch.core.chat import Message
from hutch.core.models import Document

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]{{1,64}}")
_STEM_LETTERS = 5
_PASSAGE_WORDS, _OVERLAP_WORDS = 200, 40
CUT = f"{_PASSAGE_WORDS}-{_OVERLAP_WORDS}"  # how passages are cut: to be changed with what cuts them
_MAX_PASSAGE_CHARS = 8000  # of a passage that is hardly words
_MAX_QUESTION_WORDS = 256
_MAX_QUESTION_CHARS = 4000  # what is searched by meaning; models for that look at some hundred words
_SAMPLE_CHARS = 64 << 10
_K1, _B = 1.2, 0.75  # BM25's usual constants
_RANK_OFFSET = 60  # of reciprocal-rank fusion, as its authors chose it
_CHARS_PER_TOKEN = 2.0  # until the model's own tokenizer was asked; cautious for most languages
_INTRODUCTION = (
    "Answer from these documents where they apply, and name the one that you use. "
    "Each part begins with its document's name in brackets.\n\n"
)


class Knowledge:
    """The documents of a loaded model, cut into passages that can be searched."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._chars_per_token = _CHARS_PER_TOKEN
        self._whole = "\n\n".join(_part(each.name, each.text) for each in documents)
        self.parts = tuple((each.path, tuple(_passages(each.text))) for each in documents)
        self._passages = [
            (each.name, text)
            for each, (_, texts) in zip(documents, self.parts, strict=True)
            for text in texts
        ]
        self._lengths = array("I")  # of passages, in words
        # For each word the passages that have it, once for each time that it is there.
        self._found_in: dict[str, array[int]] = {}
        for index, (_, text) in enumerate(self._passages):
            words = _words(text)
            self._lengths.append(len(words))
            for word in words:
                self._found_in.setdefault(word, array("I")).append(index)
        self._mean_length = sum(self._lengths) / max(1, len(self._lengths))

    @property
    def sample(self) -> str:
        """Text to be counted in tokens: all of it where it is short, else pieces from everywhere."""
        if len(self._whole) <= _SAMPLE_CHARS:
            return self._whole
        num_pieces = 64
        stride, piece = len(self._whole) // num_pieces, _SAMPLE_CHARS // num_pieces
        return "".join(self._whole[at : at + piece] for at in range(0, stride * num_pieces, stride))

    def measure(self, num_tokens: int) -> None:
        """Say how many tokens the model makes of the sample."""
        self._chars_per_token = len(self.sample) / max(1, num_tokens)

    def question(self, messages: Sequence[Message], num_ctx: int, num_before: int = 0) -> str:
        """What passages are to be chosen by; empty where none have to be: the documents fit, or were told before."""
        budget = self._budget(messages, num_ctx, num_before)
        if budget is None or len(self._whole) <= budget:
            return ""
        asked = [each.content for each in messages if each.role == "user" and each.content.strip()]
        # From the last message that says something of its own: "Why?" does not.
        first = next((i for i in reversed(range(len(asked))) if self.ranked(_asked(asked[i]))), -1)
        return "\n".join(asked[first:])[-_MAX_QUESTION_CHARS:]

    def told_to(
        self,
        messages: Sequence[Message],
        num_ctx: int,
        num_before: int = 0,
        alike: Sequence[int] = (),
    ) -> tuple[Message, ...]:
        """The conversation with what these documents say to it in its system message.

        `num_before` tokens of an earlier exchange stand before it, with all of the documents if they are short.
        `alike` are passages, as numbered through all `parts`, that are near to the question in meaning, the best first.
        """
        budget = self._budget(messages, num_ctx, num_before)
        if budget is None:
            return tuple(messages)
        known = self._whole if len(self._whole) <= budget else self._matching(messages, budget, alike)
        if not known:
            return tuple(messages)
        said = _INTRODUCTION + known
        if messages and messages[0].role == "system":
            first = messages[0]
            return (replace(first, content=f"{first.content}\n\n{said}".strip()), *messages[1:])
        return (Message("system", said), *messages)

    def ranked(self, words: Sequence[str]) -> list[int]:
        """The passages that have some of these words, the best first."""
        scores: dict[int, float] = {}
        for word in dict.fromkeys(words):
            counts = Counter(self._found_in.get(word, ()))
            rarity = math.log(1 + (len(self._passages) - len(counts) + 0.5) / (len(counts) + 0.5))
            for index, count in counts.items():
                share = self._lengths[index] / self._mean_length
                weight = count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * share))
                scores[index] = scores.get(index, 0.0) + rarity * weight
        return sorted(scores, key=lambda index: (-scores[index], index))

    def _budget(self, messages: Sequence[Message], num_ctx: int, num_before: int) -> int | None:
        """How many characters of documents may be told; None where an earlier exchange has heard all of them."""
        room = num_ctx * self._chars_per_token
        if num_before and len(self._whole) + len(_INTRODUCTION) <= room / 2:
            return None
        said_chars = num_before * self._chars_per_token + sum(len(each.content) for each in messages)
        # Less than half where the conversation is long, but not much less, for old turns can go.
        return int(min(room / 2, max(room / 8, room * 3 / 4 - said_chars))) - len(_INTRODUCTION)

    def _matching(self, messages: Sequence[Message], budget: int, alike: Sequence[int]) -> str:
        """The best passages for the last message of a user that any matches, in the documents' own order."""
        asked = (_asked(each.content) for each in reversed(messages) if each.role == "user")
        found = ((words, self.ranked(words)) for words in asked)
        words, by_words = next((each for each in found if each[1]), ([], []))
        ranked = blended(by_words, alike) if alike else by_words
        chosen: dict[int, str] = {}
        for index in ranked:
            part = _part(*self._passages[index])
            if not chosen and len(part) > budget:
                part = self._around(index, words, budget)
            if len(part) <= budget:
                chosen[index] = part
                budget -= len(part) + 2
        return "\n\n".join(chosen[index] for index in sorted(chosen))

    def _around(self, index: int, words: Sequence[str], size: int) -> str:
        """As much of a passage as fits, around the rarest of these words."""
        name, text = self._passages[index]
        places = {_stem(found[0].casefold()): found.start() for found in _WORD.finditer(text)}
        found = sorted(places.keys() & set(words), key=lambda word: (len(self._found_in[word]), word))
        room = max(0, size - len(_part(name, "")))
        begin = max(0, places[found[0]] - room // 2) if found else 0
        return _part(name, text[begin : begin + room])


def blended(*rankings: Sequence[int]) -> list[int]:
    """One ranking of several, by reciprocal ranks: what stands high in one of them, and higher what does in all."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, index in enumerate(ranking, 1):
            scores[index] = scores.get(index, 0.0) + 1 / (_RANK_OFFSET + rank)
    return sorted(scores, key=lambda index: (-scores[index], index))


def _asked(text: str) -> list[str]:
    return _words(text)[-_MAX_QUESTION_WORDS:]


def _part(name: str, text: str) -> str:
    return f"[{name}]\n{text.strip()}"


def _passages(text: str) -> Iterator[str]:
    """Pieces of some 200 words, each beginning with the end of the one before."""
    starts = [found.start() for found in _WORD.finditer(text)]
    step = _PASSAGE_WORDS - _OVERLAP_WORDS
    for first in range(0, max(1, len(starts) - _OVERLAP_WORDS), step):
        last = first + _PASSAGE_WORDS
        end = starts[last] if last < len(starts) else len(text)
        begin = starts[first] if first else 0
        yield text[begin : min(end, begin + _MAX_PASSAGE_CHARS)]


def _words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text.casefold())]


def _stem(word: str) -> str:
    return word[:_STEM_LETTERS] if word.isalpha() else word
