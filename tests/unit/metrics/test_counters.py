"""What counts into what, and that nothing a client sends becomes a label."""

import asyncio
import random
import string
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from hutch.api.activity import Activity
from hutch.api.server import create_app
from hutch.app import App
from hutch.config import Settings
from hutch.core.access import ANONYMOUS
from hutch.core.chat import GenerateRequest, RerankRequest
from hutch.core.errors import EngineFailed, NotFound
from hutch.core.events import LoadFailed, ModelLoaded, WorkerDied
from hutch.core.names import ModelName
from hutch.metrics.counters import MAX_MODELS, OTHER, Counters
from hutch.metrics.measured import MeasuredBackend
from hutch.places import Address
from hutch.security.authn import Open
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog
from tests.fakes import FakeBackend
from tests.unit.api.asgi import Reply, ask, scope


def value(counters: Counters, name: str, **labels: str) -> float | None:
    return counters.registry.get_sample_value(f"hutch_{name}", labels)


def num_series(counters: Counters) -> int:
    return sum(len(family.samples) for family in counters.registry.collect())


@pytest.fixture
def counters() -> Counters:
    """Counters that know the model `tiny`, and one that thinks."""
    made = Counters()
    made.heard(ModelLoaded("tiny:latest", 0.25))
    made.heard(ModelLoaded("fragile:latest", 0.25))
    return made


async def _all(backend: MeasuredBackend, model: str, **fields: Any) -> list[Any]:
    request = GenerateRequest(ModelName.parse(model), prompt="x", **fields)
    return [chunk async for chunk in backend.generate(request, ANONYMOUS)]


def test_what_a_variant_answers_counts_as_its_own(counters: Counters) -> None:
    tiny = ModelName.parse("tiny")
    backend = MeasuredBackend(FakeBackend(), counters, lambda name: tiny if name.model == "asked" else name)
    asyncio.run(_all(backend, "asked"))
    assert value(counters, "generated_tokens_total", model="tiny:latest") == 3
    assert value(counters, "generated_tokens_total", model=OTHER) is None


def test_an_answer_is_counted_and_timed(counters: Counters) -> None:
    chunks = asyncio.run(_all(MeasuredBackend(FakeBackend(), counters), "tiny"))
    assert len(chunks) == 4
    model = {"model": "tiny:latest"}
    assert value(counters, "answers_total", end="stop", **model) == 1
    assert value(counters, "first_token_seconds_count", **model) == 1
    assert value(counters, "inter_token_seconds_count", **model) == 2
    assert value(counters, "answer_seconds_count", **model) == 1
    assert value(counters, "prompt_tokens_total", task="generate", **model) == 11
    assert value(counters, "cached_prompt_tokens_total", **model) == 4
    assert value(counters, "generated_tokens_total", **model) == 3
    assert value(counters, "model_load_seconds_sum", **model) == 0.25


def test_an_answer_that_breaks_off_is_an_error_and_its_pieces_count(counters: Counters) -> None:
    with pytest.raises(EngineFailed):
        asyncio.run(_all(MeasuredBackend(FakeBackend(), counters), "fragile"))
    assert value(counters, "answers_total", end="error", model="fragile:latest") == 1
    assert value(counters, "generated_tokens_total", model="fragile:latest") == 2


def test_whoever_leaves_is_counted_as_that(counters: Counters) -> None:
    backend = FakeBackend()

    async def leave() -> None:
        request = GenerateRequest(ModelName.parse("tiny"), prompt="x")
        chunks = MeasuredBackend(backend, counters).generate(request, ANONYMOUS)
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(leave())
    assert value(counters, "answers_total", end="cancelled", model="tiny:latest") == 1
    assert value(counters, "generated_tokens_total", model="tiny:latest") == 1
    assert backend.done == ["tiny"]


def test_texts_that_are_ranked_count(counters: Counters) -> None:
    request = RerankRequest(ModelName.parse("tiny"), "a", ("bc", "d"))
    asyncio.run(MeasuredBackend(FakeBackend(), counters).rerank(request, ANONYMOUS))
    assert value(counters, "prompt_tokens_total", task="rerank", model="tiny:latest") == 3


def test_events_count(counters: Counters) -> None:
    counters.heard(WorkerDied("tiny:latest"))
    counters.heard(LoadFailed("huge:latest"))
    assert value(counters, "worker_restarts_total", model="tiny:latest") == 1
    assert value(counters, "model_load_failures_total") == 1
    assert b"huge" not in generate_latest(counters.registry)


def test_a_model_keeps_the_letters_that_it_was_loaded_by(counters: Counters) -> None:
    assert counters.label(ModelName.parse("TINY")) == "tiny:latest"
    assert counters.label(ModelName.parse("never-seen")) == OTHER


def test_models_without_end_share_a_label() -> None:
    counters = Counters()
    for index in range(10_000):
        counters.heard(ModelLoaded(f"m{index}:latest", 0.1))
    assert counters.label("m0:latest") == "m0:latest"
    assert counters.label("m9999:latest") == OTHER
    assert num_series(counters) < (MAX_MODELS + 2) * 20


def test_ten_thousand_names_that_nobody_knows_make_no_series(counters: Counters) -> None:
    backend = MeasuredBackend(FakeBackend(), counters)
    rng = random.Random(7)

    async def hostile() -> None:
        for _ in range(10_000):
            name = "".join(rng.choices(string.ascii_letters, k=12))
            request = GenerateRequest(ModelName.parse(name), prompt="x")
            async for _chunk in backend.generate(request, ANONYMOUS):
                break

    asyncio.run(hostile())
    before = num_series(counters)
    asyncio.run(_all(backend, "yet-another"))
    assert num_series(counters) <= before + 2  # another end of the model "other"
    assert {
        sample.labels["model"]
        for family in counters.registry.collect()
        for sample in family.samples
        if "model" in sample.labels
    } == {OTHER, "tiny:latest", "fragile:latest"}


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counters: Counters) -> Any:
    """The real application, which counts."""
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    store = ModelStore(tmp_path / "models", lambda: Catalog({}))
    backend = MeasuredBackend(FakeBackend(), counters)
    parts = App(Settings(), store, backend, Open(), counters=counters)
    return create_app(parts, Address.parse("127.0.0.1"), Activity())


def test_ten_thousand_requests_with_names_paths_and_methods_make_few_series(
    front: Any, counters: Counters
) -> None:
    rng = random.Random(7)
    local = {"host": "localhost", "content-type": "application/json"}

    def word() -> str:
        return "".join(rng.choices(string.ascii_letters, k=9))

    async def hostile() -> None:
        for index in range(10_000):
            body = b'{"model": "%s", "prompt": "x", "stream": false}' % word().encode()
            await ask(front, scope("/api/generate", local), [body])
            if index % 10 == 0:
                await ask(front, scope(f"/{word()}", local, word().upper()))
                await ask(front, scope("/api/tags", local, word().upper()))
                await ask(front, scope(f"/v1/models/{word()}", local, "GET"))
                await ask(front, scope("/", {**local, "origin": f"https://{word()}.example"}, "GET"))

    asyncio.run(hostile())
    assert (
        value(counters, "http_requests_total", method="POST", route="/api/generate", status="2xx") == 10_000
    )
    assert value(counters, "http_requests_total", method=OTHER, route="guard", status="4xx") == 1000
    assert (
        value(counters, "http_requests_total", method="GET", route="/v1/models/{model:path}", status="4xx")
        == 1000
    )
    assert num_series(counters) < 400


def _ask(front: Any, path: str, body: bytes = b"", method: str = "POST") -> Reply:
    return asyncio.run(ask(front, scope(path, {"host": "localhost"}, method), [body]))


def test_errors_have_a_code_before_a_stream_and_in_it(front: Any, counters: Counters) -> None:
    route = "/v1/chat/completions"
    body = b'{"model": "%s", "messages": [{"role": "user", "content": "x"}], "stream": true}'
    assert _ask(front, route, body % b"nope").status == 404
    assert _ask(front, route, body % b"fragile").status == 200
    assert _ask(front, route, b"{").status == 400
    assert value(counters, "http_errors_total", route=route, code=NotFound.code) == 1
    assert value(counters, "http_errors_total", route=route, code=EngineFailed.code) == 1
    assert value(counters, "http_errors_total", route=route, code="bad_input") == 1
    assert value(counters, "http_request_seconds_count", route=route) == 3


def test_a_scrape_has_what_is_counted_and_what_is_so(front: Any) -> None:
    for path in ("/metrics", "/api/metrics"):
        reply = _ask(front, path, method="GET")
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/plain; version=")
        text = reply.body.decode()
        assert 'hutch_slots_busy{model="tiny:latest"} 1.0' in text
        assert 'hutch_requests_queued{model="tiny:latest"} 2.0' in text
        assert 'hutch_kv_cache_tokens{model="tiny:latest"} 77.0' in text
        assert 'hutch_kv_cache_capacity_tokens{model="tiny:latest"} 16384.0' in text
        assert "process_cpu_seconds_total" in text
        assert "hutch_memory_free_bytes" in text


def test_openmetrics_is_spoken_to_whoever_asks_for_it(front: Any) -> None:
    headers = {"host": "localhost", "accept": "application/openmetrics-text; version=1.0.0"}
    reply = asyncio.run(ask(front, scope("/metrics", headers, "GET")))
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


def test_two_servers_count_apart_and_nothing_is_global() -> None:
    one, other = Counters(), Counters()
    one.heard(ModelLoaded("tiny:latest", 0.1))
    assert value(other, "model_load_seconds_count", model="tiny:latest") is None
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("hutch")]


def test_choices_count_apart_and_their_prompt_once(counters: Counters) -> None:
    chunks = asyncio.run(_all(MeasuredBackend(FakeBackend(), counters), "tiny", num_choices=3))
    assert {chunk.choice for chunk in chunks} == {0, 1, 2}
    model = {"model": "tiny:latest"}
    assert value(counters, "answers_total", end="stop", **model) == 3
    assert value(counters, "first_token_seconds_count", **model) == 3
    assert value(counters, "inter_token_seconds_count", **model) == 6
    assert value(counters, "prompt_tokens_total", task="generate", **model) == 11
    assert value(counters, "generated_tokens_total", **model) == 9
