"""Ids of tool calls for templates that are particular about them."""

from hutch.core.chat import Message, ToolCall
from hutch.prompt.call_ids import fitting

PARTICULAR = "{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}"


def talk(*ids: str) -> list[Message]:
    """Calls of these ids, and their results."""
    calls = tuple(ToolCall(index, each, "f", "{}") for index, each in enumerate(ids))
    return [
        Message("user", "Hi"),
        Message("assistant", "", "", calls),
        *(Message("tool", "sunny", "", (), each) for each in ids),
    ]


def test_ids_become_nine_letters_and_digits_and_results_keep_to_their_calls() -> None:
    messages = fitting(talk("call_0123456789abcdef", "", "Abc123xyZ"), PARTICULAR)
    calls = [call.id for call in messages[1].tool_calls]
    assert calls == [message.tool_call_id for message in messages[2:]]
    assert all(len(each) == 9 and each.isalnum() for each in calls)
    assert len(set(calls)) == 3
    assert calls[2] == "Abc123xyZ"


def test_other_templates_and_talks_are_left_alone() -> None:
    said = talk("call_1")
    assert fitting(said, "{{ messages }}") is said
    assert fitting(said[:1], PARTICULAR) == said[:1]
