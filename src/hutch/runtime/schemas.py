"""JSON Schemas on their way to a worker: closed, and looked at, because an engine goes on without one that it cannot compile."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from hutch.core.errors import BadInput
from hutch.prompt.schema import closed
from hutch.runtime.aside import done_aside

_CHECKER = "hutch.engines.schema"
_WITHIN_S = 5.0
_MAX_KNOWN = 256
_known: OrderedDict[str, "asyncio.Future[str]"] = (
    OrderedDict()
)  # what is wrong with schemas that were looked at lately


async def usable(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema as engines take it. Raises BadInput that says why none can."""
    ready = closed(schema)
    text = json.dumps(ready)
    fault = _known.get(text)
    if fault is None or (fault.done() and (fault.cancelled() or fault.exception() is not None)):
        fault = _known[text] = asyncio.ensure_future(_fault(text))
        if len(_known) > _MAX_KNOWN:
            _known.popitem(last=False)
    if why := await asyncio.shield(fault):
        raise BadInput(f"format: the JSON schema cannot be used: {why}", param="format")
    return ready


async def _fault(text: str) -> str:
    said = await done_aside(_CHECKER, text.encode(), _WITHIN_S)
    if said is None:
        _known.pop(text, None)  # the machine may have been busy
        return f"compiling it failed, or took more than {_WITHIN_S:g} s"
    return " ".join(said.decode(errors="replace").split())[:300]
