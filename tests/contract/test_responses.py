"""OpenAI's Responses over a backend that remembers what it was asked for: conversations that go on, and what is kept."""

import time
from contextlib import suppress
from typing import Any

import pytest
from starlette.testclient import TestClient

from hutch.api.response_shelf import Kept, NoResponse, Shelf
from hutch.core.access import Principal
from hutch.core.chat import Message, Sampling, ToolCall
from tests.contract.house import Front

PATH = "/v1/responses"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def made(house: Front, **body: Any) -> dict[str, Any]:
    """A response."""
    reply: dict[str, Any] = house.post(PATH, {"input": "Hi", **body})
    assert "error" not in reply or reply["error"] is None, reply
    return reply


def test_what_is_asked_is_passed_on(house: Front) -> None:
    body = {"instructions": "Be brief.", "temperature": 0.5, "top_p": 0.4, "max_output_tokens": 9}
    request = house.asks(PATH, input="Hi", reasoning={"effort": "minimal"}, truncation="auto", **body)
    assert request.messages == (Message("system", "Be brief."), Message("user", "Hi"))
    assert request.sampling == Sampling(temperature=0.5, top_p=0.4, max_tokens=9)
    assert (request.think, request.truncate) == ("low", True)
    assert not house.asks(PATH, input="Hi").truncate


def test_a_format_is_a_schema_without_an_envelope(house: Front) -> None:
    form = {"type": "json_schema", "name": "n", "strict": True, "schema": {"type": "object"}}
    assert house.asks(PATH, input="Hi", text={"format": form}).response_format == {"type": "object"}
    assert house.asks(PATH, input="Hi", text={"format": {"type": "json_object"}}).response_format == "json"


def test_items_are_turns_and_calls_belong_to_the_turn_before(house: Front) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    items = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "And"}, {"type": "input_text", "text": "now?"}],
        },
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Look:"}]},
        call,
        {**call, "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    ]
    calls = (ToolCall(0, "c1", "weather", "{}"), ToolCall(1, "c2", "weather", "{}"))
    assert house.asks(PATH, input=items).messages == (
        Message("system", "Be brief."),
        Message("user", "And\nnow?"),
        Message("assistant", "Look:", "Hm.", calls),
        Message("tool", "sunny", tool_call_id="c1"),
        Message("tool", "rain", tool_call_id="c2"),
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_without_the_old_instructions(house: Front, stream: bool) -> None:
    first = house.client.post(
        PATH, json={"model": "tiny", "input": "One", "instructions": "Be brief.", "stream": stream}
    )
    name = first.text.split('"id":"resp_')[1].split('"')[0]
    second = made(house, input="Two", previous_response_id=f"resp_{name}")
    request = house.asks(PATH, input="Three", previous_response_id=second["id"])
    said = "Hello, wörld 🐇"
    assert request.messages is not None
    assert [(each.role, each.content) for each in request.messages] == [
        ("user", "One"),
        ("assistant", said),
        ("user", "Two"),
        ("assistant", said),
        ("user", "Three"),
    ]


def test_calls_and_thoughts_go_on_too(house: Front) -> None:
    clock = {"type": "function", "name": "clock"}
    first = made(house, model="caller", tools=[WEATHER, clock])
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "?"}
        for item in first["output"]
    ]
    request = house.asks(PATH, input=outputs, previous_response_id=first["id"])
    assert request.messages is not None
    assert request.messages[1].tool_calls == (
        ToolCall(0, "call_a", "weather", '{"city": "Paris"}'),
        ToolCall(1, "call_b", "clock", "{}"),
    )
    first = made(house, model="thinker")
    messages = house.asks(PATH, input="So?", previous_response_id=first["id"]).messages
    assert messages is not None
    assert messages[1] == Message("assistant", "Hello", "Hm. Well.")


def test_a_response_is_kept_listed_and_forgotten(house: Front) -> None:
    items = [{"role": "user", "content": text} for text in "abc"]
    response = made(house, input=items)
    at = f"{PATH}/{response['id']}"
    assert house.client.get(at).json() == response
    newest = house.client.get(f"{at}/input_items?limit=2").json()
    assert [item["content"] for item in newest["data"]] == ["c", "b"]
    assert newest["has_more"]
    oldest = house.client.get(f"{at}/input_items?order=asc&after={newest['last_id']}").json()
    assert [item["content"] for item in oldest["data"]] == ["c"]
    assert not oldest["has_more"]
    for query in ("limit=0", "limit=x", "limit=101", "order=up", "after=nothing"):
        assert house.client.get(f"{at}/input_items?{query}").status_code == 400
    assert house.client.get(f"{at}?stream=true").status_code == 400
    assert house.client.post(f"{at}/cancel").status_code == 400
    assert house.client.delete(at).json() == {"id": response["id"], "object": "response", "deleted": True}
    assert house.client.get(at).status_code == 404
    assert house.client.delete(at).status_code == 404


def test_what_is_not_to_be_stored_is_not(house: Front) -> None:
    response = made(house, store=False)
    assert house.client.get(f"{PATH}/{response['id']}").status_code == 404


def _polled(client: TestClient, name: str, until: set[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        response: dict[str, Any] = client.get(f"{PATH}/{name}").json()
        if response["status"] in until:
            return response
        time.sleep(0.01)
    raise AssertionError(response)


def test_an_answer_in_the_background_comes_when_it_comes(house: Front) -> None:
    with TestClient(house.client.app, "http://localhost") as client:  # one event loop for all its requests
        queued = client.post(PATH, json={"model": "tiny", "input": "Hi", "background": True}).json()
        assert queued["status"] == "queued"
        done = _polled(client, queued["id"], {"completed"})
        assert done["output"][0]["content"][0]["text"] == "Hello, wörld 🐇"
        broken = client.post(PATH, json={"model": "fragile", "input": "Hi", "background": True}).json()
        failed = _polled(client, broken["id"], {"failed"})
        assert failed["error"]["message"] == "the worker died. Send it again."


def _kept(name: str, num_chars: int = 0) -> Kept:
    return Kept({"id": name, "output": ["x" * num_chars]}, [], [])


def _names(shelf: Shelf, who: Principal, names: str) -> str:
    """Those of the names that are kept."""
    found = ""
    for name in names:
        with suppress(NoResponse):
            found += shelf.get(who, name).response["id"]
    return found


def test_the_shelf_is_each_principals_own_and_bounded() -> None:
    shelf, ann, bob = Shelf(max_responses=8), Principal("ann"), Principal("bob")
    for name in "abcdefgh":
        shelf.put(ann, _kept(name))
    with pytest.raises(NoResponse):
        shelf.get(bob, "a")
    shelf.get(ann, "a")
    shelf.put(bob, _kept("i"))  # b is the one that nobody asked for
    assert (_names(shelf, ann, "abcdefgh"), _names(shelf, bob, "i")) == ("acdefgh", "i")


def test_a_response_that_does_not_fit_goes_alone() -> None:
    shelf, ann, bob = Shelf(max_bytes=400), Principal("ann"), Principal("bob")
    shelf.put(ann, _kept("a"))
    shelf.put(bob, _kept("b"))
    shelf.put(bob, _kept("c", 500))
    assert (_names(shelf, ann, "a"), _names(shelf, bob, "bc")) == ("a", "b")


@pytest.mark.parametrize("limits", [{"max_responses": 8}, {"max_bytes": 2000}])
def test_nobody_pushes_everybody_else_out(limits: dict[str, int]) -> None:
    shelf, ann, bob = Shelf(**limits), Principal("ann"), Principal("bob")
    for name in "abcd":
        shelf.put(ann, _kept(name, 200))
    for name in "efghijklmnop":
        shelf.put(bob, _kept(name, 200))
    assert _names(shelf, ann, "abcd") == "abcd"
    assert _names(shelf, bob, "efghijklmnop") in ("mnop", "nop")


def test_what_came_before_counts_without_being_written_out_again() -> None:
    shelf, ann = Shelf(max_bytes=1000), Principal("ann")
    first = _kept("a", 300)
    shelf.put(ann, first)
    second = Kept({"id": "b", "output": []}, [], first.conversation(), first.said_bytes)
    shelf.put(ann, second)
    assert 300 < first.said_bytes < first.size_bytes < 400
    assert 300 < second.said_bytes < second.size_bytes < 400
    third = Kept({"id": "c", "output": ["x" * 200]}, [], second.conversation(), second.said_bytes)
    shelf.put(ann, third)
    assert _names(shelf, ann, "abc") == "bc"


@pytest.mark.parametrize("name", [5, [], {"a": 1}])
def test_an_item_has_a_text_for_an_id(house: Front, name: object) -> None:
    item = {"role": "user", "content": "Hi", "id": name}
    assert "input.0.id" in house.refuses(PATH, input=[item])


def test_an_item_without_an_id_gets_one(house: Front) -> None:
    name = made(house, input=[{"role": "user", "content": "Hi", "id": None}])["id"]
    [item] = house.client.get(f"{PATH}/{name}/input_items").json()["data"]
    assert item["id"].startswith("msg_")
