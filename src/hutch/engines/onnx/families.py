"""How families of models write calls of tools, and thoughts. Data, and what is read from it."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_TAG = re.compile(r"(<[^<>\s]+>|\[/?[A-Z_]+\])")
_TOOLS = re.compile(r"\btools\b")
_TOOLS_IN_A_MESSAGE = re.compile(r"message(?:\.|\[['\"])tools\b")
_TOOL_ROLE = re.compile(r"['\"](?:tool|ipython|tool_results?)['\"]")


@dataclass(frozen=True, slots=True)
class Form:
    """How calls are written: `before`, then each between `opens` and `closes`, with `between` them, and `after`.

    A call is an object of `name` and `arguments`. With `infix` it is a bare name, the infix, and the arguments.
    """

    before: str = ""
    opens: str = ""
    infix: str = ""
    closes: str = ""
    between: str = ""
    after: str = ""
    arguments: str = "arguments"
    is_single: bool = False  # the family was not taught to write several at once

    @property
    def tags(self) -> list[str]:
        """The marks in it, which may be single tokens."""
        return _TAG.findall(f"{self.before}\n{self.opens}\n{self.infix}\n{self.closes}\n{self.after}")

    def write(self, calls: Sequence[tuple[str, Any]]) -> str:
        """Calls, as the family writes them: names and arguments."""
        return f"{self.before}{self.between.join(self._written(*call) for call in calls)}{self.after}"

    def _written(self, name: str, arguments: Any) -> str:
        if self.infix:
            said = f"{name}{self.infix}{_dumped(arguments)}"
        else:
            said = _dumped({"name": name, self.arguments: arguments})
        return f"{self.opens}{said}{self.closes}"


@dataclass(frozen=True, slots=True)
class Family:
    """One way to write calls. `signs`: what templates, or vocabularies, of the family have.

    `markers`: what calls may stand behind; `{` is any JSON at the beginning. `has_python`: they may be Python's, too.
    """

    name: str
    signs: tuple[str, ...]
    markers: tuple[str, ...]
    form: Form
    has_python: bool = False


# The first whose sign is found is the one, so what is special stands before what is general.
FAMILIES = (
    Family(
        "DeepSeek",
        ("<｜tool▁calls▁begin｜>",),
        ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
        Form(
            before="<｜tool▁calls▁begin｜>",
            opens="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            infix="\n```json\n",
            closes="\n```<｜tool▁call▁end｜>",
            between="\n",
            after="<｜tool▁calls▁end｜>",
        ),
    ),
    Family("Mistral, new", ("[ARGS]",), ("[TOOL_CALLS]",), Form(opens="[TOOL_CALLS]", infix="[ARGS]")),
    Family(
        "Mistral",
        ("[TOOL_CALLS]", "[INST]"),
        ("[TOOL_CALLS]",),
        Form(before="[TOOL_CALLS][", between=", ", after="]"),
    ),
    Family(
        "Phi",
        ("<|tool_call|>", "<|tool|>"),
        ("<|tool_call|>", "functools["),
        Form(before="<|tool_call|>[", between=", ", after="]<|/tool_call|>"),
    ),
    Family(
        "SmolLM2",
        ("named SmolLM, trained by Hugging Face",),
        ("<tool_call>",),
        Form(before="<tool_call>[", between=", ", after="]</tool_call>"),
    ),
    Family(
        "Hermes: Qwen, SmolLM3",
        ("<tool_call>",),
        ("<tool_call>",),
        Form(opens="<tool_call>\n", closes="\n</tool_call>", between="\n"),
    ),
    Family(
        "Gemma",
        ("<start_of_turn>",),
        ("```tool_code", "```tool_call", "```json", "{"),
        Form(arguments="parameters", is_single=True),
        has_python=True,
    ),
    Family(
        "Llama 3",
        ("<|python_tag|>", "<|start_header_id|>"),
        ("<|python_tag|>", "{"),
        Form(arguments="parameters", is_single=True),
        has_python=True,
    ),
)
OTHERS = Family(
    "others", (), ("<tool_call>", "{"), Form(opens="<tool_call>\n", closes="\n</tool_call>", between="\n")
)
THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))


def family_of(template: str, has_token: Callable[[str], bool]) -> Family:
    """The family of a model, by its chat template, else by its vocabulary."""
    by_template = (each for each in FAMILIES if any(sign in template for sign in each.signs))
    by_vocabulary = (each for each in FAMILIES if any(map(has_token, each.signs)))
    return next(by_template, None) or next(by_vocabulary, OTHERS)


def thinking_of(template: str) -> tuple[str, str] | None:
    """The tags around a model's thoughts, where its template shows that it has any."""
    if "enable_thinking" in template and not any(opens in template for opens, _ in THINKING):
        return THINKING[0]
    return next((tags for tags in THINKING if tags[0] in template), None)


def tags_in(text: str) -> list[str]:
    """A text in pieces: marks, which may be single tokens, and what stands between them."""
    return [piece for piece in _TAG.split(text) if piece]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a template can render by itself. For what it cannot, messages are rewritten."""

    tools: bool
    tools_in_system: bool  # as text in the first message, as Phi-4-mini's template has it
    calls: bool
    results: bool

    @classmethod
    def of(cls, template: str) -> "Abilities":
        """What the text of a template shows."""
        in_system = bool(_TOOLS_IN_A_MESSAGE.search(template))
        return cls(
            tools=not in_system and bool(_TOOLS.search(template)),
            tools_in_system=in_system,
            calls="tool_calls" in template,
            results=bool(_TOOL_ROLE.search(template)),
        )


def instructions(form: Form, tools: Sequence[Any]) -> str:
    """What tells a model of its tools where its template does not."""
    example = form.write([("NAME", {"PARAMETER": "VALUE"})])
    functions = "\n".join(_dumped(tool["function"]) for tool in tools)
    return f"You can call these functions:\n{functions}\nTo call one, answer with nothing but this, filled in:\n{example}"


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
