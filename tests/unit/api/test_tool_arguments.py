"""Arguments of tools that are nested too deep to be read as JSON."""

import pytest

from hutch.api.ollama_wire import tool_calls
from hutch.api.responses_wire import messages_of
from hutch.core.chat import ToolCall
from hutch.core.errors import BadInput, EngineFailed

_DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


def test_a_clients_are_refused_by_name() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": _DEEP}
    with pytest.raises(BadInput, match=r"input\.0\.arguments"):
        messages_of([call])


def test_a_models_are_told_as_its_failure() -> None:
    with pytest.raises(EngineFailed, match="no JSON object"):
        tool_calls([ToolCall(0, "c", "f", _DEEP)])
