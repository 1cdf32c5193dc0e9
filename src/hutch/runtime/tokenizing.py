"""Texts into tokens and tokens into text, by the workers of loaded models."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from hutch.core.errors import BadInput
from hutch.core.names import ModelName
from hutch.core.tokens import SpecialTokens, Tokenized
from hutch.engines.wire import piece_bytes
from hutch.runtime.loaded import LoadedModel
from hutch.runtime.scheduler import Scheduler
from hutch.runtime.worker import Worker

_Reply = TypeVar("_Reply")


class WorkerTokenizer:
    """Asks the worker of a model. That takes none of its slots: it answers while all of them are busy."""

    def __init__(self, scheduler: Scheduler, load_timeout_s: float) -> None:
        self._scheduler = scheduler
        self._load_timeout_s = load_timeout_s

    async def tokenize(
        self,
        name: ModelName,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        with_pieces: bool = False,
    ) -> Tokenized:
        """The tokens of a text."""
        body = {
            "content": text,
            "add_special": add_special,
            "parse_special": parse_special,
            "with_pieces": with_pieces,
        }

        async def ask(worker: Worker) -> Tokenized:
            found = (await worker.client.call("/tokenize", body))["tokens"]
            if not with_pieces:
                return Tokenized(tuple(found), (), worker.plan.num_ctx)
            pieces = tuple(piece_bytes(each["piece"]) for each in found)
            return Tokenized(tuple(each["id"] for each in found), pieces, worker.plan.num_ctx)

        return await self._asked(name, ask)

    async def detokenize(self, name: ModelName, tokens: tuple[int, ...]) -> str:
        """The text of tokens. Raises BadInput for numbers that are no tokens of this model."""

        async def ask(worker: Worker) -> str:
            if worker.plan.engine == "llama.cpp":
                await _check_known(worker, tokens)
            return str((await worker.client.call("/detokenize", {"tokens": tokens}))["content"])

        return await self._asked(name, ask) if tokens else ""

    async def special_tokens(self, name: ModelName) -> SpecialTokens:
        """What begins and ends a text, and the template of conversations."""
        async with self._in_use(name) as loaded:
            told = await loaded.asked(lambda worker: worker.client.get("/props"), self._load_timeout_s)
            template = (
                loaded.voice.facts.chat_template
            )  # the engine tells one of its own where the file has none
            return SpecialTokens(told["bos_token"], told["eos_token"], template, loaded.plan.num_ctx)

    async def _asked(self, name: ModelName, ask: Callable[[Worker], Awaitable[_Reply]]) -> _Reply:
        async with self._in_use(name) as loaded:
            return await loaded.asked(ask, self._load_timeout_s)

    @asynccontextmanager
    async def _in_use(self, name: ModelName) -> AsyncIterator[LoadedModel]:
        async with self._scheduler.use(name, None, None) as (loaded, _):
            yield loaded


async def _check_known(worker: Worker, tokens: tuple[int, ...]) -> None:
    """Refuse what the vocabulary lacks, of which llama-server says only that a range check failed. Raises BadInput."""
    size = int((await worker.client.get("/v1/models"))["data"][0]["meta"]["n_vocab"])
    if any(token >= size for token in tokens):
        raise BadInput(f"tokens: this model's token ids are from 0 to {size - 1}", param="tokens")
