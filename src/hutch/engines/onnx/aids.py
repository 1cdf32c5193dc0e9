"""What a loaded model needs for some requests only, made when it is first asked for: each takes some tenths of a second."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hutch.core.errors import BadInput
from hutch.engines.onnx.answer import Constraint
from hutch.engines.onnx.chat import Chat
from hutch.engines.onnx.guidance import Guidance
from hutch.engines.onnx.requests import Completion
from hutch.engines.onnx.sight import Sight
from hutch.engines.onnx.template import ChatTemplate
from hutch.engines.onnx.text import Tokens


@dataclass(frozen=True, slots=True)
class Facts:
    """What the wire has to know of a model that is loaded. `engine`: who runs it, as `/props` says it.

    `template`: of conversations, empty where the model was not made for them; `template_tokens`: what it calls bos_token
    and eos_token. `state_folder`: where states of slots are written to.
    """

    name: str
    tokens: Tokens
    template: str
    template_tokens: Mapping[str, str]
    num_slots: int
    num_ctx: int
    vocab_size: int
    engine: Mapping[str, Any]
    state_folder: str = ""
    sight: Sight | None = None

    @property
    def marker(self) -> str:
        """What stands for an image in a prompt; "" where the model sees none."""
        return self.sight.marker if self.sight else ""


class Aids:
    """Those of one model."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._guidance: asyncio.Task[Guidance] | None = None
        self._chat: asyncio.Task[Chat] | None = None

    async def constraint(self, asked: Completion) -> Constraint | None:
        """What an answer is to be held to, if to anything. Raises BadInput."""
        if asked.json_schema is None and asked.grammar is None and asked.regex is None:
            return None
        return await asyncio.to_thread(_constraint, await self._made_guidance(), asked)

    async def chat(self) -> Chat:
        """How the model converses. Raises BadInput where it does not."""
        if not self._facts.template:
            raise BadInput("this model has no chat template", hint="Send it a prompt instead of messages.")
        if self._chat is None or _has_failed(self._chat):
            self._chat = asyncio.create_task(self._opened_chat())
        return await asyncio.shield(self._chat)

    async def _made_guidance(self) -> Guidance:
        if self._guidance is None or _has_failed(self._guidance):
            facts = self._facts
            made = asyncio.to_thread(Guidance, facts.tokens, facts.vocab_size)
            self._guidance = asyncio.create_task(made)
        return await asyncio.shield(self._guidance)

    async def _opened_chat(self) -> Chat:
        facts, guidance = self._facts, await self._made_guidance()
        template = await asyncio.to_thread(ChatTemplate, facts.template, facts.template_tokens)
        return Chat(template, facts.tokens, guidance, facts.marker)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    """Whether what it was to make must be made anew: a process that could not start may start now."""
    return task.done() and (task.cancelled() or task.exception() is not None)


def _constraint(guidance: Guidance, asked: Completion) -> Constraint:
    if asked.json_schema is not None:
        return guidance.json_schema(asked.json_schema)
    if asked.grammar is not None:
        return guidance.grammar(asked.grammar)
    return guidance.regex(asked.regex or "")
