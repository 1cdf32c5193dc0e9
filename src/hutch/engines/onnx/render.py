"""Renders one model's chat template: `python -m hutch.engines.onnx.render`, JSON lines in, JSON lines out.

A process of its own, because a template is a program that came with a file from anywhere. Jinja's sandbox keeps it from
this machine, but not from running long or growing large: the system bounds its memory here, and who started it its time.
"""

import datetime as dt
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_PROMPT_CHARS = 16 << 20
_MAX_MEMORY_BYTES = 1 << 30
_WITHIN_S = 30


class _Generation(Extension):
    """`{% generation %}` marks for training what the assistant says. Here it means nothing."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def main() -> None:
    """The first line is the template, each further one what to render it with."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  # there is none on Windows

        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    source = json.loads(sys.stdin.readline())
    compiled: Any = None

    def compile_template() -> str:
        nonlocal compiled
        compiled = _environment().from_string(source)
        return ""

    _answer(compile_template)
    for line in sys.stdin:
        variables = json.loads(line)
        _answer(lambda: _rendered(compiled.generate(**variables)))  # noqa: B023  # called at once


def _rendered(pieces: Any) -> str:
    found: list[str] = []
    size = 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > MAX_PROMPT_CHARS:
            raise TemplateError(f"the prompt would have more than {MAX_PROMPT_CHARS} characters")
    return "".join(found)


def _answer(work: Callable[[], str]) -> None:
    """One line: the text, or why there is none. Whatever a template does wrong, the next request may be right."""
    if sys.platform != "win32":
        signal.alarm(_WITHIN_S)  # ends this process, even where nobody is left who would
    try:
        reply = {"text": work()}
    except MemoryError:
        reply = {"error": "it takes too much memory"}
    except RecursionError:
        reply = {"error": "it goes too deep"}
    except Exception as error:  # noqa: BLE001  # a template can raise anything
        reply = {"error": str(error) or type(error).__name__}
    if sys.platform != "win32":
        signal.alarm(0)
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as Hugging Face sets it up for chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Jinja's own escapes what HTML would read, which is wrong here."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return dt.datetime.now().astimezone().strftime(form)


if __name__ == "__main__":
    main()
