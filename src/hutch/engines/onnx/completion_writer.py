"""An answer's events in the words of llama-server's `/completion`. Knows no HTTP."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hutch.engines.onnx.answer import End, Event, Piece, Progress, Timings
from hutch.engines.onnx.probabilities import Probabilities
from hutch.engines.onnx.requests import Completion
from hutch.engines.onnx.text import Tokens

JsonDict = dict[str, Any]


class CompletionWriter:
    """Writes one answer: event by event, or whole. `num_prompt`: how many tokens its prompt has; `index`: which choice it is."""

    def __init__(self, asked: Completion, tokens: Tokens, num_prompt: int, index: int = 0) -> None:
        self._index = index
        self._asked = asked
        self._probabilities = Probabilities(tokens)
        self._num_prompt = num_prompt
        self._num_predicted = 0
        self._head = f'{{"index":{index},"content":'
        self._tail = f',"tokens_evaluated":{num_prompt}'

    def stream(self, events: Iterable[Event]) -> bytes:
        """Some events as a part of a stream. Empty where they say nothing."""
        return b"".join(f"data: {said}\n\n".encode() for said in map(self._said, events) if said)

    def whole(self, events: Iterable[Event]) -> JsonDict:
        """All events as one reply."""
        texts, probabilities, end = [], [], {}
        for event in events:
            if isinstance(event, Piece):
                self._num_predicted += 1
                texts.append(event.text)
                probabilities += self._probabilities.feed(event)
            elif isinstance(event, End):
                end = self._end(event)
                probabilities += self._probabilities.end(event)
        end["content"] = "".join(texts) + end["content"]
        return {**end, "completion_probabilities": probabilities} if probabilities else end

    def _said(self, event: Event) -> str:
        if isinstance(event, Piece):
            self._num_predicted += 1
            probabilities = self._probabilities.feed(event)
            if not event.text and event.choice.logprob is None:
                return ""
            said = (
                f'{self._head}{json.dumps(event.text)},"tokens":[{event.choice.token}],"stop":false,'
                f'"id_slot":{self._asked.slot},"tokens_predicted":{self._num_predicted}{self._tail}'
            )
            if not probabilities:
                return said + "}"
            return f'{said},"completion_probabilities":{json.dumps(probabilities)}}}'
        if isinstance(event, End):
            end, probabilities = self._end(event), self._probabilities.end(event)
            return json.dumps({**end, "completion_probabilities": probabilities} if probabilities else end)
        if isinstance(event, Progress) and self._asked.wants_progress:
            return json.dumps(self._progress(event))
        return ""

    def _progress(self, progress: Progress) -> JsonDict:
        return {
            "index": self._index,
            "content": "",
            "tokens": [],
            "stop": False,
            "id_slot": self._asked.slot,
            "tokens_predicted": 0,
            "tokens_evaluated": self._num_prompt,
            "prompt_progress": progress_json(progress),
        }

    def _end(self, end: End) -> JsonDict:
        return {
            "index": self._index,
            "content": end.text,
            "tokens": [],
            "id_slot": self._asked.slot,
            "stop": True,
            "tokens_predicted": self._num_predicted,
            "tokens_evaluated": self._num_prompt,
            "truncated": end.is_truncated,
            "stop_type": end.stop_type,
            "stopping_word": end.stopping_word,
            "tokens_cached": self._num_prompt + max(0, self._num_predicted - 1),
            "timings": timings_json(end.timings),
        }


def progress_json(progress: Progress) -> Mapping[str, int]:
    """How much of a prompt has been read."""
    return {
        "total": progress.num_total,
        "cache": progress.num_cached,
        "processed": progress.num_processed,
        "time_ms": round(progress.time_s * 1000),
    }


def timings_json(timings: Timings) -> JsonDict:
    """What an answer took."""
    return {
        "cache_n": timings.num_cached,
        "prompt_n": timings.num_prompt,
        **_pace("prompt", timings.num_prompt, timings.prompt_s),
        "predicted_n": timings.num_predicted,
        **_pace("predicted", timings.num_predicted, timings.predicted_s),
        "draft_n": timings.num_guessed,
        "draft_n_accepted": timings.num_true,
    }


def _pace(name: str, number: int, took_s: float) -> JsonDict:
    return {
        f"{name}_ms": took_s * 1000,
        f"{name}_per_token_ms": took_s * 1000 / number if number else 0.0,
        f"{name}_per_second": number / took_s if took_s > 0 else 0.0,
    }
