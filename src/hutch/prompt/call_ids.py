"""Ids of tool calls as Mistral's templates want them: nine letters and digits, or they render nothing."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

from hutch.core.chat import Message, ToolCall

_SIGN = "length 9"  # of the complaint in the templates that look
_NINE = re.compile("[A-Za-z0-9]{9}")


def fitting(messages: Sequence[Message], template: str) -> Sequence[Message]:
    """The messages with ids that this template takes. Results without an id are those of the calls, in their order."""
    if _SIGN not in template or not any(message.tool_calls or message.role == "tool" for message in messages):
        return messages
    num_calls = num_results = 0
    fitted = []
    for message in messages:
        calls = []
        for call in message.tool_calls:
            calls.append(replace(call, id=_nine(call.id or str(num_calls))))
            num_calls += 1
        said = replace(message, tool_calls=tuple[ToolCall, ...](calls))
        if message.role == "tool":
            said = replace(said, tool_call_id=_nine(message.tool_call_id or str(num_results)))
            num_results += 1
        fitted.append(said)
    return fitted


def _nine(call_id: str) -> str:
    return call_id if _NINE.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]
