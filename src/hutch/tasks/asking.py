"""A question to a chat model: asked without chance, and its answer read or refused."""

import json
from contextlib import aclosing
from dataclasses import dataclass, field

from hutch.core.access import Principal
from hutch.core.backend import Backend
from hutch.core.chat import GenerateRequest, LoadOptions, Message, Sampling, Usage
from hutch.core.errors import ContextExceeded, Unanswered
from hutch.core.names import ModelName
from hutch.tasks.questions import JsonDict, Question

_SYSTEM = "You do what is asked with the text, and answer in JSON."


@dataclass(frozen=True, slots=True)
class Asked:
    """Which model, and how it is to be run."""

    model: ModelName
    sampling: Sampling = field(default_factory=Sampling)
    load: LoadOptions = field(default_factory=LoadOptions)
    keep_alive_s: float | None = None


async def answer(
    backend: Backend, question: Question, asked: Asked, who: Principal
) -> tuple[JsonDict, Usage]:
    """The task's result. Raises ContextExceeded for a text that is too long, and Unanswered for an answer that is."""
    request = GenerateRequest(
        asked.model,
        messages=_messages(question),
        # Whoever names a temperature gets it; a model's own is for conversations.
        sampling=asked.sampling.over(Sampling(temperature=0.0, max_tokens=question.max_tokens)),
        load=asked.load,
        keep_alive_s=asked.keep_alive_s,
        response_format=question.schema,
        think=False,
        needs_thinking=False,
        truncate=False,
    )
    pieces, finish, usage = [], "", Usage()
    try:
        async with aclosing(backend.generate(request, who)) as chunks:
            async for chunk in chunks:
                pieces.append(chunk.text)
                finish, usage = chunk.finish_reason or finish, chunk.usage or usage
    except ContextExceeded as error:
        raise _too_long(error) from error
    try:
        told = question.read(json.loads("".join(pieces)))
        json.dumps(
            told, ensure_ascii=False, allow_nan=False
        ).encode()  # half a character or 1e999 cannot be sent on
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unanswered(finish) from error
    return told, usage


def _messages(question: Question) -> tuple[Message, ...]:
    """The question, and a system message in place of a model's own, which may want anything else of its answers."""
    said = f"{question.instruction}\n\n{question.text}" if question.text else question.instruction
    return Message("system", _SYSTEM), Message("user", said, images=question.images)


def _too_long(error: ContextExceeded) -> ContextExceeded:
    return ContextExceeded(
        f"the text is too long for the model's context: {error.message}",
        hint="Send it in parts, or ask for a larger context: options.num_ctx.",
        prompt_tokens=error.prompt_tokens,
        num_ctx=error.num_ctx,
    )


def _unanswered(finish: str) -> Unanswered:
    if finish == "length":
        return Unanswered(
            "the model did not come to the end of its answer",
            hint="Send less text, raise options.num_ctx or options.num_predict, or take a larger model.",
        )
    return Unanswered("the model's answer has not the form that was asked for", hint="Take another model.")
