"""The ONNX worker as the front meets it: a process on a socket, with a model of random weights."""

import asyncio
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import BadInput, ContextExceeded
from hutch.engines.client import WorkerClient
from hutch.engines.protocol import Endpoint, LaunchPlan
from tests import onnx_files
from tests.conftest import clean_environment

NUM_CTX = 128
GREEDY = {"temperature": 0, "n_predict": 8}


def plan(folder: Path, place: Path, **changes: Any) -> LaunchPlan:
    """A plan for a folder, at a socket in another one."""
    made = LaunchPlan(
        weights=str(folder),
        endpoint=Endpoint(socket=str(place / "w.sock")),
        num_ctx=NUM_CTX,
        num_slots=3,
        num_batch=32,
        num_ubatch=NUM_CTX,
        num_thread=1,
        engine="onnx",
    )
    return replace(made, **changes)


class Started:
    """A worker that runs."""

    def __init__(self, launched: LaunchPlan, log: Path) -> None:
        self.plan = launched
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hutch.engines.onnx.worker"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=clean_environment(),
            )
        assert self.process.stdin
        self.process.stdin.write(launched.dumps())
        self.process.stdin.flush()

    def wait(self) -> None:
        """Until it answers."""
        stop_s = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < stop_s:
            try:
                if self.ask("GET", "/health")[0] == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request, by a client that is not ours."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.plan.endpoint.port or 80, timeout=30)
        try:
            if self.plan.endpoint.socket:
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(30)
                connection.sock.connect(self.plan.endpoint.socket)
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return response.status, json.loads(text) if text[:1] in b"{[" else text.decode()

    def end(self) -> int:
        """As the front ends it: by closing the pipe."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model."""
    return onnx_files.write_llama(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def worker(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A worker that several tests share."""
    place = tmp_path_factory.mktemp("w")
    started = Started(plan(folder, place), place / "log")
    try:
        started.wait()
        yield started
    finally:
        started.end()


async def _streamed(worker: Started, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    client = WorkerClient(worker.plan.endpoint)
    return [event async for event in client.stream(path, {**body, "stream": True})]


def streamed(worker: Started, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """All events of a stream, as the front reads them."""
    return asyncio.run(asyncio.wait_for(_streamed(worker, path, body), 60))


def test_only_its_user_can_connect(worker: Started) -> None:
    mode = Path(worker.plan.endpoint.socket).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_stream_says_what_the_whole_reply_says(worker: Started) -> None:
    body = {"prompt": "the hat", **GREEDY, "n_probs": 2}
    status, whole = worker.ask("POST", "/completion", body)
    events = streamed(worker, "/completion", {**body, "return_progress": True})
    assert status == 200
    assert "".join(event["content"] for event in events) == whole["content"]
    tokens = [token for event in events for token in event["tokens"]]
    assert [each["id"] for each in whole["completion_probabilities"]] == tokens
    assert len(tokens) == 8
    last = events[-1]
    assert (last["stop"], last["stop_type"], last["timings"]["predicted_n"]) == (True, "limit", 8)
    assert events[0]["prompt_progress"]["total"] == last["tokens_evaluated"]
    likeliest = whole["completion_probabilities"][0]["top_logprobs"]
    assert likeliest[0]["logprob"] >= likeliest[1]["logprob"]


def test_requests_at_once_say_what_each_says_alone(worker: Started) -> None:
    bodies = [
        {"prompt": "the " * (2 + 9 * i), **GREEDY, "seed": 3, "temperature": 1, "id_slot": i}
        for i in range(3)
    ]
    alone = [worker.ask("POST", "/completion", body)[1]["content"] for body in bodies]

    async def together() -> list[str]:
        found = await asyncio.gather(*(_streamed(worker, "/completion", body) for body in bodies))
        return ["".join(event["content"] for event in events) for events in found]

    assert asyncio.run(together()) == alone


def test_a_prefix_is_reused_and_says_so(worker: Started) -> None:
    body = {"prompt": "there and then the inn " * 4, **GREEDY, "id_slot": 2, "cache_prompt": False}
    first = worker.ask("POST", "/completion", body)[1]
    again = worker.ask("POST", "/completion", {**body, "cache_prompt": True})[1]
    assert first["timings"]["cache_n"] == 0
    assert again["timings"]["cache_n"] == first["timings"]["prompt_n"] - 2
    assert again["content"] == first["content"]


def test_an_answer_is_held_to_a_schema(worker: Started) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 2]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    body = {"prompt": "x", "temperature": 1, "seed": 1, "n_predict": 60, "json_schema": schema}
    assert json.loads(worker.ask("POST", "/completion", body)[1]["content"])["n"] in (1, 2)


def test_a_conversation_streams_and_ends_with_its_usage(worker: Started) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], **GREEDY, "logprobs": True, "top_logprobs": 1}
    events = streamed(worker, "/v1/chat/completions", body)
    whole = worker.ask("POST", "/v1/chat/completions", body)[1]
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    assert said == whole["choices"][0]["message"]["content"]
    assert [event["choices"][0]["finish_reason"] for event in events if event["choices"]][-1] == "length"
    assert events[-1]["usage"]["completion_tokens"] == 8
    assert len(whole["choices"][0]["logprobs"]["content"]) == 8
    stopped = streamed(worker, "/v1/chat/completions", {**body, "stop": [said[2:4]]})
    assert stopped[-1]["stopping_word"] == said[2:4]


def test_the_template_and_the_tokenizer_can_be_asked(worker: Started) -> None:
    prompt = worker.ask("POST", "/apply-template", {"messages": [{"role": "user", "content": "hi"}]})[1][
        "prompt"
    ]
    assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    tokens = worker.ask("POST", "/tokenize", {"content": "the hät"})[1]["tokens"]
    assert worker.ask("POST", "/detokenize", {"tokens": tokens})[1] == {"content": "the hät"}
    pieces = worker.ask("POST", "/tokenize", {"content": "ä", "with_pieces": True})[1]["tokens"]
    assert [each["piece"] for each in pieces] == [[0xC3], [0xA4]]
    special = worker.ask("POST", "/tokenize", {"content": "<|im_end|>", "parse_special": False})[1]["tokens"]
    assert len(special) > 1


def test_it_tells_about_itself(worker: Started) -> None:
    props = worker.ask("GET", "/props")[1]
    assert props["default_generation_settings"]["n_ctx"] == NUM_CTX
    assert (props["total_slots"], props["engine"]["name"]) == (3, "onnxruntime")
    assert [slot["is_processing"] for slot in worker.ask("GET", "/slots")[1]] == [False] * 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"[1]", "JSON object"),
        (b"{" * 100_000, "no JSON"),
        (b'{"prompt": NaN}', "no JSON"),
        (b'{"prompt": "x", "n_predict": "y"}', "n_predict"),
        (b'{"prompt": ""}', "no tokens"),
        (b'{"prompt": {"prompt_string": "x", "multimodal_data": ["aGk="]}}', "cannot see images"),
        (b'{"prompt": [99999999]}', "no token 99999999"),
        (b'{"prompt": "\\ud800"}', ""),
        (b'{"prompt": "x", "id_slot": 3}', "no slot 3"),
        (b'{"prompt": "x", "logit_bias": [[123456, 1]]}', "no token 123456"),
        (b'{"prompt": "x", "regex": "("}', "regular expression"),
        (b'{"prompt": "x", "grammar": "root ::= nowhere"}', "grammar"),
    ],
)
def test_hostile_bodies_are_refused_in_words(worker: Started, body: bytes, said: str) -> None:
    status, reply = worker.ask("POST", "/completion", body)
    assert status == 400, reply
    assert said in reply["error"]["message"]
    assert reply["error"]["type"] == "invalid_request_error"


def test_other_paths_are_not_there(worker: Started) -> None:
    assert worker.ask("GET", "/nope")[0] == 404
    assert worker.ask("GET", "/completion")[0] == 405


def test_too_long_a_prompt_tells_both_sizes(worker: Started) -> None:
    async def scenario() -> None:
        client = WorkerClient(worker.plan.endpoint)
        with pytest.raises(ContextExceeded) as caught:
            await client.call("/completion", {"prompt": [5] * NUM_CTX, **GREEDY})
        assert (caught.value.prompt_tokens, caught.value.num_ctx) == (NUM_CTX, NUM_CTX)
        with pytest.raises(BadInput):
            await client.call("/completion", {"prompt": 5})

    asyncio.run(scenario())


def test_a_full_context_ends_the_answer(worker: Started) -> None:
    body = {"prompt": [5] * (NUM_CTX - 4), "temperature": 0, "n_predict": -1, "logit_bias": [[2, False]]}
    reply = worker.ask("POST", "/completion", body)[1]
    assert (reply["stop_type"], reply["truncated"], reply["tokens_predicted"]) == ("limit", True, 4)


def test_a_client_that_leaves_frees_its_slot(worker: Started) -> None:
    async def scenario() -> None:
        client = WorkerClient(worker.plan.endpoint)
        body = {"prompt": "a", "n_predict": NUM_CTX, "stream": True, "id_slot": 1, "logit_bias": [[2, False]]}
        async with aclosing(
            client.stream("/completion", {**body, "json_schema": {"type": "array", "minItems": 500}})
        ) as events:
            await anext(events)
            assert (await client.get("/slots"))[1]["is_processing"]
        stop_s = time.monotonic() + 5
        while (await client.get("/slots"))[1]["is_processing"]:
            assert time.monotonic() < stop_s
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_on_loopback_it_wants_its_secret(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    started = Started(plan(folder, tmp_path, endpoint=Endpoint(port=port, secret="s3cret")), tmp_path / "log")
    try:
        stop_s = time.monotonic() + 60
        while time.monotonic() < stop_s:
            try:
                status = started.ask("GET", "/health", Authorization="Bearer s3cret")[0]
            except OSError:
                status = 0
            if status == 200:
                break
            time.sleep(0.02)
        assert started.ask("GET", "/health")[0] == 401
        assert started.ask("POST", "/completion", {"prompt": "x"}, Authorization="Bearer s3cre")[0] == 401
    finally:
        assert started.end() == 0


def test_it_ends_with_its_input_even_in_mid_answer(folder: Path, tmp_path: Path) -> None:
    started = Started(plan(folder, tmp_path), tmp_path / "log")
    started.wait()
    assert started.end() == 0


def test_a_model_that_cannot_be_loaded_is_told_of(tmp_path: Path) -> None:
    model = onnx_files.write_llama(tmp_path / "model", external=False)
    (model / "model.onnx").write_bytes((model / "model.onnx").read_bytes()[:-100])
    started = Started(plan(model, tmp_path), tmp_path / "log")
    assert started.process.wait(60) == 1
    started.end()
    assert "error" in (tmp_path / "log").read_text().splitlines()[-1].lower()


def test_telemetry_is_off_before_the_library_is_there() -> None:
    code = (
        "import hutch.engines.onnx.session, os; raise SystemExit(os.environ['ORT_DISABLE_TELEMETRY'] != '1')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
