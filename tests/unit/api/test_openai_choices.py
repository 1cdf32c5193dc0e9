"""Several requests as one stream: what comes through, and what ends when it ends."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from hutch.api.openai_choices import Tally, best, merged
from hutch.core.access import ANONYMOUS, Principal
from hutch.core.chat import Chunk, GenerateRequest, TokenLogprob, Usage
from hutch.core.errors import EngineFailed
from hutch.core.names import ModelName
from tests.fakes import FakeBackend

_REQUEST = GenerateRequest(ModelName.parse("tiny"), prompt="a")


class Endless(FakeBackend):
    """Answers for ever; `open` counts the answers that are being written. The prompt `bad` breaks."""

    open = 0
    most = 0

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """One chunk after another."""
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while True:
                if request.prompt == "bad":
                    raise EngineFailed("the worker died")
                yield Chunk(text="x")
                await asyncio.sleep(0)
        finally:
            self.open -= 1


def _requests(count: int) -> list[GenerateRequest]:
    return [replace(_REQUEST, prompt=str(index)) for index in range(count)]


def test_every_request_has_its_choices_and_all_of_them_arrive() -> None:
    async def gather() -> list[int]:
        requests = [replace(each, num_choices=2) for each in _requests(20)]
        chunks = merged(FakeBackend(), ANONYMOUS, requests)
        return [chunk.choice async for chunk in chunks if chunk.finish_reason]

    assert sorted(asyncio.run(gather())) == list(range(40))


@pytest.mark.parametrize("count", [1, 3, 50])
def test_closing_the_stream_ends_every_answer(count: int) -> None:
    async def leave() -> Endless:
        backend = Endless()
        chunks = merged(backend, ANONYMOUS, _requests(count))
        for _ in range(100):
            await anext(chunks)
        await chunks.aclose()
        return backend

    backend = asyncio.run(leave())
    assert backend.open == 0
    assert backend.most == min(count, 8)  # the others waited here, and not in the model's queue


def test_an_error_of_one_ends_all() -> None:
    async def fail() -> Endless:
        backend = Endless()
        requests = [*_requests(3), replace(_REQUEST, prompt="bad")]
        with pytest.raises(EngineFailed):
            async for _ in merged(backend, ANONYMOUS, requests):
                pass
        return backend

    assert asyncio.run(fail()).open == 0


def test_choices_of_one_prompt_count_it_once() -> None:
    tally = Tally(2)
    for choice in range(4):
        tally.add(
            Chunk(usage=Usage(prompt_tokens=10, cached_tokens=choice, completion_tokens=1), choice=choice)
        )
    total = tally.total()
    assert (total.prompt_tokens, total.cached_tokens, total.completion_tokens) == (20, 2, 4)


def test_the_best_are_those_with_the_likeliest_tokens() -> None:
    def choice(index: int, *logprobs: float) -> list[Chunk]:
        return [Chunk(choice=index, logprobs=tuple(TokenLogprob("x", each, ()) for each in logprobs))]

    choices = [choice(0, -3, -3), choice(1, -1, -2, -1), choice(2, -2)]
    assert [each[0].choice for each in best(choices, 2)] == [1, 2]
    assert best(choices, 3) == choices
