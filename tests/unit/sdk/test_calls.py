"""What each method sends, and what it makes of the answer."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import BadInput, NotFound
from hutch.core.options import OPTION_TYPES
from hutch.sdk.results import Answer, Progress, Usage
from hutch.sdk.settings import Options
from tests.scripted_http import Reply, Script, lines, told
from tests.unit.sdk.conftest import Asker

CALL = {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Oslo"}}}
DONE = {
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 3,
    "eval_count": 2,
    "eval_duration": 500_000_000,
}
SUCCESS = {"status": "success"}
VERSION = {"version": "0.33.0", "hutch": "0.1.0"}


def sent(script: Script) -> tuple[str, str, Any]:
    (asked,) = script.asked
    return asked.method, asked.path, asked.json if asked.body else None


def test_a_conversation(ask: Asker, script: Script) -> None:
    script.plays(
        told({"model": "m", "message": {"content": "Hi", "thinking": "Hm", "tool_calls": [CALL]}, **DONE})
    )
    answer = ask("chat", "m", [{"role": "user", "content": "Hello"}], options={"seed": 1}, keep_alive="5m")
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
    assert sent(script) == ("POST", "/api/chat", body | {"options": {"seed": 1}, "keep_alive": "5m"})
    assert isinstance(answer, Answer)
    assert (answer.text, answer.thinking, answer.done_reason) == ("Hi", "Hm", "stop")
    assert answer.usage == Usage(prompt_tokens=3, completion_tokens=2, decode_s=0.5)
    assert answer.message == {
        "role": "assistant",
        "content": "Hi",
        "thinking": "Hm",
        "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
    }


def test_a_conversation_goes_on_with_an_answer_as_its_message(ask: Asker, script: Script) -> None:
    script.plays(told({"message": {"content": "Hi"}, **DONE}))
    first: Any = ask("chat", "m", "Hello")
    ask("chat", "m", ({"role": "user", "content": "Hello"}, first.message))
    assert [turn["role"] for turn in script.asked[1].json["messages"]] == ["user", "assistant"]


def test_a_streamed_prompt(ask: Asker, script: Script) -> None:
    script.plays(lines({"response": "a\u2028b", "done": False}, {"response": "", "context": [1, 2], **DONE}))
    pieces = ask("generate_stream", "m", "p", system="s", raw=True)
    assert sent(script)[2] == {"model": "m", "prompt": "p", "system": "s", "raw": True, "stream": True}
    assert [(piece.text, piece.done, piece.context) for piece in pieces] == [
        ("a\u2028b", False, ()),
        ("", True, (1, 2)),
    ]


def test_a_stream_in_bytes_one_by_one(ask: Asker, script: Script) -> None:
    data = (
        '{"message":{"content":"é\u2028"},"done":false}\r\n\n{"message":{"content":""},"done":true}'.encode()
    )
    script.plays(Reply(200, [bytes((byte,)) for byte in data]))
    assert [piece.text for piece in ask("chat_stream", "m", "hi")] == ["é\u2028", ""]


def test_pictures_go_as_base64(ask: Asker, script: Script, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    script.plays(told({"response": "A cat", **DONE}))
    ask("generate", "m", "What?", images=[tmp_path / "a.png", b"png", "cG5n"])
    assert script.asked[0].json["images"] == ["cG5n"] * 3
    ask("chat", "m", [{"role": "user", "content": "What?", "images": [b"png"]}])
    assert script.asked[1].json["messages"][0]["images"] == ["cG5n"]
    with pytest.raises(BadInput, match="cannot be read"):
        ask("generate", "m", "What?", images=[tmp_path / "none.png"])


def test_vectors(ask: Asker, script: Script) -> None:
    script.plays(told({"model": "m", "embeddings": [[1, 0.5], [0, 1]], "prompt_eval_count": 4}))
    result = ask("embed", "m", ("a", "b"), dimensions=2)
    assert sent(script) == ("POST", "/api/embed", {"model": "m", "input": ["a", "b"], "dimensions": 2})
    assert result.vectors == ((1.0, 0.5), (0.0, 1.0))
    assert result.usage.prompt_tokens == 4


def test_a_ranking(ask: Asker, script: Script) -> None:
    script.plays(
        told({"model": "m", "results": [{"index": 1, "relevance_score": 2}], "usage": {"prompt_tokens": 9}})
    )
    ranking = ask("rerank", "m", "q", ["a", "b"], top_n=1)
    assert sent(script)[2] == {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1}
    assert [(each.index, each.score) for each in ranking.results] == [(1, 2.0)]
    assert ranking.prompt_tokens == 9


RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "model": "m",
    "error": None,
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
        {
            "type": "function_call",
            "status": "completed",
            "call_id": "c1",
            "name": "f",
            "arguments": '{"a": 1}',
        },
    ],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


def test_a_response(ask: Asker, script: Script) -> None:
    script.plays(told(RESPONSE))
    response = ask("respond", "m", "hello", previous_response_id="resp_0")
    assert sent(script)[2] == {"model": "m", "input": "hello", "previous_response_id": "resp_0"}
    assert (response.id, response.text, response.prompt_tokens) == ("resp_1", "Hi", 3)
    assert [(call.name, dict(call.arguments), call.id) for call in response.tool_calls] == [
        ("f", {"a": 1}, "c1")
    ]


def test_the_events_of_a_response(ask: Asker, script: Script) -> None:
    script.plays(Reply(200, [
        b'event: x\ndata: {"type": "response.output_text.delta", "delta": "H"}\n\n: note\n\n',
        b'data:{"type": "response.completed", "response": {"id": "r", "status": "completed"}}\n\n',
    ]))  # fmt: skip
    events = ask("respond_stream", "m", "hello")
    assert (events[0].type, events[0].text) == ("response.output_text.delta", "H")
    assert events[-1].response.id == "r"


def test_the_lists_of_models(ask: Asker, script: Script) -> None:
    row = {
        "name": "m:latest",
        "digest": "d",
        "size": 5,
        "modified_at": "2026-01-02T03:04:05Z",
        "capabilities": ["x"],
    }
    script.plays(told({"models": [row | {"details": {"quantization_level": "Q4_0"}}]}))
    (model,) = ask("list")
    assert (model.name, model.size_bytes, model.capabilities) == ("m:latest", 5, ("x",))
    assert model.modified_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert model.details.quantization == "Q4_0"
    script.plays(told({"models": [row | {"pid": 7, "slots": 4, "queued": 1, "state": "ready"}]}))
    (running,) = ask("ps")
    assert (running.pid, running.num_slots, running.num_queued, running.state) == (7, 4, 1, "ready")


@pytest.mark.parametrize("method", ["pull", "push", "create"])
def test_progress(ask: Asker, script: Script, method: str) -> None:
    script.plays(lines({"status": "x", "digest": "d", "total": 9, "completed": 3}, SUCCESS))
    steps = ask(f"{method}_stream", "m")
    assert steps == [Progress("x", "d", total_bytes=9, completed_bytes=3), Progress("success")]
    assert sent(script) == ("POST", f"/api/{method}", {"model": "m", "stream": True})
    assert ask(method, "m") is None


def test_a_model_is_made_from_another(ask: Asker, script: Script) -> None:
    script.plays(lines(SUCCESS))
    ask("create", "mario", from_="m", system="You are Mario.", files={"a.gguf": "sha256:0"})
    body = {"model": "mario", "from": "m", "system": "You are Mario.", "files": {"a.gguf": "sha256:0"}}
    assert sent(script)[2] == body | {"stream": True}


@pytest.mark.parametrize(
    ("method", "words", "request_"),
    [
        ("copy", ("a", "b"), ("POST", "/api/copy", {"source": "a", "destination": "b"})),
        ("delete", ("a",), ("DELETE", "/api/delete", {"model": "a"})),
        ("unload", ("a",), ("POST", "/api/generate", {"model": "a", "stream": False, "keep_alive": 0})),
        ("load", ("a",), ("POST", "/api/generate", {"model": "a", "stream": False})),
    ],
)
def test_what_gives_nothing_back(ask: Asker, script: Script, method: str, words: Any, request_: Any) -> None:
    script.plays(Reply())
    assert ask(method, *words) is None
    assert sent(script) == request_


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("is_file", [True, False])
def test_a_file_is_brought_where_it_is_missing(
    ask: Asker, script: Script, tmp_path: Path, is_there: bool, is_file: bool
) -> None:
    data = b"x" * (3 << 20)
    (tmp_path / "x").write_bytes(data)
    script.plays(Reply(200 if is_there else 404), Reply(201))
    digest = ask("create_blob", tmp_path / "x" if is_file else data)
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert [asked.method for asked in script.asked] == (["HEAD"] if is_there else ["HEAD", "POST"])
    if not is_there:
        assert script.asked[1].body == data


def test_a_file_that_is_not_there(ask: Asker, script: Script, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="none cannot be read"):
        ask("create_blob", tmp_path / "none")
    assert not script.asked


def test_versions_and_health(ask: Asker, script: Script) -> None:
    script.plays(told(VERSION))
    assert (ask("version").hutch, ask("version").api) == ("0.1.0", "0.33.0")
    assert ask("health").is_ready
    script.plays(told({"error": "the server is shutting down", "code": "not_ready"}, 503))
    health = ask("health")
    assert (health.is_ready, health.problem) == (False, "the server is shutting down")
    assert len(script.asked) == 1


def test_the_options_are_those_that_the_server_knows() -> None:
    assert set(Options.__annotations__) == set(OPTION_TYPES)


@pytest.mark.parametrize("method", ["chat", "generate", "embed", "respond", "pull", "create", "load"])
def test_a_keyword_that_there_is_not(ask: Asker, script: Script, method: str) -> None:
    words = ["m"] if method in ("pull", "create", "load") else ["m", "hi"]
    with pytest.raises(TypeError, match="temprature"):
        ask(method, *words, temprature=1)
    assert not script.asked


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_is_no_json_is_not_sent(ask: Asker, script: Script, value: object) -> None:
    with pytest.raises(BadInput, match="cannot be written as JSON"):
        ask("chat", "m", "hi", options={"temperature": value})
    assert not script.asked


def test_a_task(ask: Asker, script: Script, tmp_path: Path) -> None:
    script.plays(told({"summary": "Short.", "model": "m", "eval_count": 2}))
    done = ask("task", "summarize", model="m", text="Long.", max_words=9)
    assert sent(script) == ("POST", "/api/tasks/summarize", {"model": "m", "text": "Long.", "max_words": 9})
    assert (done["summary"], done.usage.completion_tokens) == ("Short.", 2)
    picture = tmp_path / "x.png"
    picture.write_bytes(b"png")
    for image in (b"png", picture, "cG5n"):
        script.plays(told({"text": "", "lines": []}))
        ask("task", "ocr", image=image)
        assert script.asked[-1].json == {"image": "cG5n"}
    script.plays(told({"error": "there is no task 'a/b'", "code": "not_found"}, status=404))
    with pytest.raises(NotFound):
        ask("task", "a/b")
    assert script.asked[-1].path == "/api/tasks/a%2Fb"
