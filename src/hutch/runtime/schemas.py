"""What answers are to follow, on its way to a worker: looked at, because an engine goes on without what it cannot compile.

JSON Schemas are closed; regular expressions and grammars become grammars in Lark, which both engines take.
"""

import asyncio
import json
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from hutch.core.chat import Form, ResponseFormat
from hutch.core.errors import BadInput, NotBuilt
from hutch.engines.protocol import LaunchPlan
from hutch.prompt.schema import closed
from hutch.runtime.aside import done_aside

_CHECKER = "hutch.engines.schema"
_WRITER = "hutch.engines.grammar"
_WITHIN_S = 5.0
_MAX_KNOWN = 256
_known: OrderedDict[tuple[str, str], "asyncio.Future[bytes | None]"] = (
    OrderedDict()
)  # what was found out about those that were looked at lately


async def usable(asked: ResponseFormat) -> ResponseFormat:
    """The format as engines take it. Raises BadInput that says why none can."""
    if isinstance(asked, str):
        return asked
    if isinstance(asked, Form):
        return await _written(asked)
    ready = closed(asked)
    said = await _found_out(_CHECKER, json.dumps(ready))
    if why := _too_long() if said is None else _line(said.decode(errors="replace")):
        raise BadInput(f"format: the JSON schema cannot be used: {why}", param="format")
    return ready


def suited(asked: ResponseFormat | None, plan: LaunchPlan) -> ResponseFormat | None:
    """The format as the engine of this plan takes it. Raises NotBuilt where it cannot."""
    if not isinstance(asked, Form) or not plan.binary:
        return asked
    if asked.is_gbnf:
        return replace(asked, grammar=asked.text)
    raise NotBuilt(
        f"{asked.param}: this model is run by a llama-server of its own, which takes grammars in GBNF alone",
        hint="Write it in GBNF, or go back to the engine that comes with Hutch (`hutch engine use default`).",
        param=asked.param,
    )


async def _written(form: Form) -> Form:
    said = await _found_out(_WRITER, json.dumps({"kind": form.kind, "text": form.text}))
    made: dict[str, Any] = {"fault": _too_long()} if said is None else json.loads(said)
    if made["fault"]:
        raise BadInput(f"{form.param}: it cannot be used: {_line(made['fault'])}", param=form.param)
    return replace(form, grammar=made["lark"], is_gbnf=made["is_gbnf"])


async def _found_out(module: str, text: str) -> bytes | None:
    """What the module says of the text, asked once; None where it failed."""
    key = module, text
    found = _known.get(key)
    if found is None or (found.done() and (found.cancelled() or found.exception() is not None)):
        found = _known[key] = asyncio.ensure_future(_asked(key))
        if len(_known) > _MAX_KNOWN:
            _known.popitem(last=False)
    return await asyncio.shield(found)


async def _asked(key: tuple[str, str]) -> bytes | None:
    said = await done_aside(key[0], key[1].encode(), _WITHIN_S)
    if said is None:
        _known.pop(key, None)  # the machine may have been busy
    return said


def _too_long() -> str:
    return f"compiling it failed, or took more than {_WITHIN_S:g} s"


def _line(text: str) -> str:
    """A fault in one line, without the state of the library that found it."""
    said, *state = " ".join(text.split()).split("<state>")
    return "no text fits it" if state and said.strip() == "NoExtensionBias" else said.strip()[:300]
