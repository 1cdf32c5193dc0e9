"""Conversations: a request's messages and tools into a prompt, and what its answer is taken apart by and held to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hutch.core.chat import Chunk
from hutch.engines.onnx.chat_body import ChatBody, JsonDict
from hutch.engines.onnx.chat_grammar import ChatGrammar
from hutch.engines.onnx.families import Abilities, family_of, instructions, thinking_of
from hutch.engines.onnx.guidance import Constraint, Guidance
from hutch.engines.onnx.template import ChatTemplate, parsed
from hutch.engines.onnx.text import Tokens
from hutch.prompt.answer import Marks, Reader


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the model: its prompt, what its answer is taken apart by, and what that is held to.

    `images`: in base64, in the order of their markers. `preserved`: special tokens whose names belong to the answer's text.
    """

    prompt: str
    images: tuple[str, ...]
    marks: Marks
    preserved: frozenset[int]
    constraint: Constraint | None

    def reader(self) -> Reader:
        """What takes this turn's answer apart."""
        return Reader(self.marks, self.prompt)


class Chat:
    """Speaks with one model, by its own template. `marker`: what stands for an image in a prompt; "": the model sees none."""

    def __init__(self, template: ChatTemplate, tokens: Tokens, guidance: Guidance, marker: str = "") -> None:
        self._template = template
        self._tokens = tokens
        self._guidance = guidance
        self._marker = marker
        self._family = family_of(template.source, lambda name: tokens.id_of(name) is not None)
        self._thinking = thinking_of(template.source)
        self._can = Abilities.of(template.source)
        self._grammar = ChatGrammar(guidance, self._family.form, self._thinking)

    def prompt(self, body: Mapping[str, Any]) -> str:
        """The prompt for the body of `/apply-template`. Blocks while it renders. Raises BadInput."""
        return self._prompt(ChatBody.of(body, self._marker))

    def open(self, body: Mapping[str, Any]) -> Turn:
        """The turn for the body of `/v1/chat/completions`. Blocks while it renders. Raises BadInput."""
        checked = ChatBody.of(body, self._marker)
        prompt = self._prompt(checked)
        marks = self._marks(checked)
        names = [*marks.tokens, *(self._family.form.tags if marks.tools else [])]
        preserved = {token for name in names if (token := self._tokens.id_of(name)) in self._tokens.special}
        grammar = self._grammar.write(checked, prompt)
        constraint = self._guidance.lark(grammar) if grammar else None
        return Turn(prompt, checked.images, marks, frozenset(preserved), constraint)

    def _prompt(self, body: ChatBody) -> str:
        messages = [self._retold(message) for message in body.messages]
        begun = ""
        if body.opens_answer and _is_begun(messages[-1]):
            begun = messages.pop()["content"]  # the answer goes on from there, as llama.cpp has it
        options = {**body.options, "add_generation_prompt": body.opens_answer}
        functions = [tool["function"] for tool in body.tools]
        if functions and self._can.tools_in_system:
            messages = _with_system(messages, "", tools=json.dumps(functions, ensure_ascii=False))
        elif functions and self._can.tools:
            options[self._can.tools] = body.tools
        elif functions:
            messages = _with_system(messages, instructions(self._family.form, body.tools))
        return self._template.render(messages, options) + begun

    def _marks(self, body: ChatBody) -> Marks:
        marker, *others = self._family.markers
        return Marks(
            thinking=self._thinking,
            tools=frozenset(tool["function"]["name"] for tool in body.tools),
            marker=marker,
            max_calls=None if body.has_parallel_calls else 1,
            others=tuple(others),
            is_streamed=True,
            has_python=self._family.has_python,
        )

    def _retold(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message about tools as plain text, for templates that know of none."""
        calls = message.get("tool_calls")
        if calls and not self._can.calls:
            written = self._family.form.write(
                [(call["function"]["name"], parsed(call["function"]["arguments"])) for call in calls]
            )
            said = f"{message['content']}\n{written}" if message["content"] else written
            return {"role": message["role"], "content": said}
        if message["role"] == "tool" and not self._can.results:
            name = message.get("name") or "the call"
            return {"role": "user", "content": f"The result of {name}:\n{message['content']}"}
        return message


def _is_begun(message: Mapping[str, Any]) -> bool:
    """Whether this is an answer that was begun, and not one that called something."""
    return message["role"] == "assistant" and bool(message["content"]) and not message.get("tool_calls")


def delta(chunk: Chunk) -> JsonDict:
    """What a chunk adds to the message, as an event of `/v1/chat/completions` says it."""
    added: JsonDict = {}
    if chunk.thinking:
        added["reasoning_content"] = chunk.thinking
    if chunk.text:
        added["content"] = chunk.text
    if chunk.tool_calls:
        added["tool_calls"] = [
            {"index": call.index, "function": {"arguments": call.arguments}}
            if not call.name
            else {
                "index": call.index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in chunk.tool_calls
        ]
    return added


def _with_system(messages: Sequence[Mapping[str, Any]], text: str, **fields: str) -> list[Mapping[str, Any]]:
    """The messages with this added to what the system says."""
    has_system = messages[0]["role"] == "system"
    said = [messages[0]["content"]] if has_system else []
    content = "\n\n".join(each for each in (*said, text) if each)
    return [{"role": "system", "content": content, **fields}, *messages[has_system:]]
