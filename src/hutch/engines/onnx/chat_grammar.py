"""What an answer in a conversation must be, as a grammar in Lark: thoughts, and then calls of tools, or JSON, or either."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hutch.engines.onnx.chat_body import ChatBody, JsonDict
from hutch.engines.onnx.families import Form, tags_in
from hutch.engines.onnx.guidance import Guidance
from hutch.prompt.schema import closed

_MAX_CALLS = 32  # a small model would go on for ever


@dataclass(frozen=True, slots=True)
class ChatGrammar:
    """Writes grammars for one model: how it writes calls, and what stands around its thoughts."""

    guidance: Guidance
    form: Form
    thinking: tuple[str, str] | None

    def write(self, body: ChatBody, prompt: str) -> str:
        """The grammar for the answer to a prompt; none where the request leaves it free. Raises BadInput."""
        is_required = body.choice != "auto"
        if not is_required and body.schema is None:
            return ""
        calls = self._calls(body)
        answers = "calls" if is_required else "calls | json" if calls else "json"
        lines = [f"start: {self._beginning(prompt)} ({answers})", *calls]
        if not is_required and body.schema is not None:
            lines.append(f"json: {self.guidance.inline(body.schema)}")
        return "\n".join((*lines, *self._thoughts()))

    def _beginning(self, prompt: str) -> str:
        """The thoughts that come first: those that the prompt has begun, or those that the model may begin."""
        if not self.thinking or prompt.rstrip().endswith(self.thinking[1]):
            return ""
        if prompt.rstrip().endswith(self.thinking[0]):
            return "thoughts"
        return f"({self.guidance.literal(self.thinking[0])} thoughts)?"

    def _thoughts(self) -> list[str]:
        if not self.thinking:
            return []
        closes = self.guidance.literal(self.thinking[1])
        if closes.startswith('"'):  # no token of its own: the text ends where it is found
            lines = ["thoughts: thought space", f"thought[suffix={closes}]: /(?s:.*)/"]
        else:
            lines = [f"thoughts: thought {closes} space", "thought: /(?s:.*)/"]
        return [*lines, r"space: /[ \n]{0,4}/"]

    def _calls(self, body: ChatBody) -> list[str]:
        """The rules for calls of the tools, or of the one that was chosen; none for no tools."""
        form = self.form
        wanted = [
            tool for tool in body.tools if body.choice in ("auto", "required", tool["function"]["name"])
        ]
        if not wanted:
            return []
        kinds = [f"call_{index}" for index in range(len(wanted))]
        more = _MAX_CALLS - 1 if body.has_parallel_calls and not form.is_single else 0
        again = f" ({self._literals(form.between)} call){{0,{more}}}" if more else ""
        return [
            f"calls: {self._literals(form.before)} call{again} {self._literals(form.after)}",
            f"call: {self._literals(form.opens)} ({' | '.join(kinds)}) {self._literals(form.closes)}",
            *(f"{kind}: {self._call(tool)}" for kind, tool in zip(kinds, wanted, strict=True)),
        ]

    def _call(self, tool: JsonDict) -> str:
        name = tool["function"]["name"]
        arguments = closed({"type": "object", **(tool["function"].get("parameters") or {})})
        if self.form.infix:
            return f"{json.dumps(name)} {self._literals(self.form.infix)} {self.guidance.inline(arguments)}"
        return self.guidance.inline(_call_schema(name, self.form.arguments, arguments))

    def _literals(self, text: str) -> str:
        return " ".join(self.guidance.literal(piece) for piece in tags_in(text))


def _call_schema(name: str, key: str, arguments: Mapping[str, Any]) -> JsonDict:
    """The schema of a call as an object. What the arguments' schema refers to moves up with it."""
    moved = {key: arguments[key] for key in ("$defs", "definitions") if key in arguments}
    own = {key: value for key, value in arguments.items() if key not in moved}
    return {
        "type": "object",
        "properties": {"name": {"const": name}, key: own},
        "required": ["name", key],
        "additionalProperties": False,
        **moved,
    }
