"""A backend that says what it is told to, behind the real front."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from hutch.core.access import Principal
from hutch.core.backend import Running, WorkerState
from hutch.core.chat import (
    Chunk,
    Echo,
    Embeddings,
    EmbedRequest,
    FinishReason,
    GenerateRequest,
    LoadOptions,
    Ranked,
    Ranking,
    RerankRequest,
    TokenLogprob,
    ToolCall,
    Usage,
)
from hutch.core.errors import Busy, ContextExceeded, EngineFailed, HutchError, NotFound
from hutch.core.models import Details, StoredModel
from hutch.core.names import ModelName
from hutch.core.tokens import SpecialTokens, Tokenized

WHEN = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
USAGE = Usage(
    prompt_tokens=11,
    cached_tokens=4,
    completion_tokens=3,
    load_s=0.25,
    prompt_s=0.125,
    decode_s=0.5,
    total_s=1.0,
)
_WORDS = ("Hello", ", ", "wörld 🐇")
_CALLS = (
    ToolCall(0, "call_a", "weather", '{"city": "Pa'),
    ToolCall(0, "", "", 'ris"}'),
    ToolCall(1, "call_b", "clock", ""),
)
_FAILURES: dict[str, HutchError] = {
    "broken": EngineFailed("the worker is broken", hint="Look at the log."),
    "crowded": Busy("server busy", hint="Come back.", retry_after_s=7),
    "small": ContextExceeded("9 tokens exceed 8", hint="Say less.", prompt_tokens=9, num_ctx=8),
    "nope": NotFound("model 'nope' not found", hint="Fetch it."),
}


def stored(name: str = "tiny") -> StoredModel:
    """A model as a listing has it."""
    details = Details("gguf", "llama", ("llama",), "64", "F32")
    return StoredModel(ModelName.parse(name), "d" * 64, 640, WHEN, details)


@dataclass
class FakeBackend:
    """Answers by the model's name: each plays one part. `seen` is what it was asked for."""

    seen: list[GenerateRequest | EmbedRequest | RerankRequest] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """The part of the model: `caller` calls tools, `thinker` thinks, `fragile` and `buggy` break in mid-answer."""
        self.seen.append(request)
        name = request.model.model
        if name in _FAILURES:
            raise _FAILURES[name]
        try:
            echo = _echo(request) if request.echo else None
            choices = range(request.num_choices)
            for pieces in zip(*(self._chunks(name, request) for _ in choices), strict=True):
                for index, chunk in enumerate(pieces):
                    yield replace(chunk, choice=index, echo=echo)
                    echo = None
                    await asyncio.sleep(0)
        finally:
            self.done.append(name)

    def _chunks(self, name: str, request: GenerateRequest) -> Sequence[Chunk]:
        reason: FinishReason = "stop"
        chunks = [Chunk(text=word) for word in _WORDS]
        if name == "caller":
            chunks, reason = [Chunk(tool_calls=(call,)) for call in _CALLS], "tool_calls"
        elif name == "thinker":
            chunks = [Chunk(thinking="Hm."), Chunk(thinking=" Well."), *chunks[:1]]
        elif name == "silent":
            chunks = []
        elif name == "fragile":
            return _Breaking(chunks[:2], EngineFailed("the worker died", hint="Send it again."))
        elif name == "buggy":
            return _Breaking(chunks[:2], ZeroDivisionError("a secret of the server"))
        limit = request.sampling.max_tokens
        if limit is not None and 0 <= limit < len(chunks):
            chunks, reason = chunks[:limit], "length"
        if request.top_logprobs is not None:
            chunks = [
                replace(chunk, logprobs=_logprobs(chunk.text, request.top_logprobs)) for chunk in chunks
            ]
        context = (1, 2, 3) if request.want_context else ()
        return [*chunks, Chunk(finish_reason=reason, usage=USAGE, context=context)]

    @property
    def tokenizer(self) -> "FakeTokenizer":
        """One for all models."""
        return FakeTokenizer()

    async def render(self, request: GenerateRequest, *, opens_answer: bool = True) -> str:
        """What was said last."""
        self.seen.append(request)
        text = request.messages[-1].content if request.messages else f"{request.prompt}|{request.suffix}"
        return text if opens_answer else f"{text}."

    async def embed(self, request: EmbedRequest, who: Principal) -> Embeddings:
        """A vector that counts up from the text's length."""
        self.seen.append(request)
        if request.model.model in _FAILURES:
            raise _FAILURES[request.model.model]
        size = request.dimensions or 3
        vectors = tuple(tuple((len(text) + i) / 8 for i in range(size)) for text in request.texts)
        return Embeddings(vectors, sum(len(text) for text in request.texts), 0.25, 0.5)

    async def rerank(self, request: RerankRequest, who: Principal) -> Ranking:
        """The longest first."""
        self.seen.append(request)
        if request.model.model in _FAILURES:
            raise _FAILURES[request.model.model]
        order = sorted(range(len(request.documents)), key=lambda index: -len(request.documents[index]))
        results = tuple(Ranked(index, len(request.documents[index]) / 8) for index in order)
        return Ranking(results[: request.top_n], sum(map(len, request.documents)), 0.25, 0.5)

    async def load(self, name: ModelName, options: LoadOptions, keep_alive_s: float | None) -> float:
        """A quarter of a second."""
        if name.model in _FAILURES:
            raise _FAILURES[name.model]
        self.done.append(f"load {name.model} {options.num_ctx} {keep_alive_s}")
        return 0.25

    async def unload(self, name: ModelName) -> bool:
        """It was loaded."""
        self.done.append(f"unload {name.model}")
        return True

    def running(self) -> Sequence[Running]:
        """One that expires, one that does not."""
        row = Running(
            model=stored(),
            state=WorkerState.READY,
            engine="llama.cpp",
            pid=4711,
            socket="/run/hutch/1.sock",
            num_ctx=4096,
            num_slots=4,
            busy_slots=1,
            queued=2,
            memory_bytes=1 << 20,
            expires_at=WHEN,
        )
        return row, replace(row, model=stored("kept"), pid=None, socket="", expires_at=None)

    async def held_tokens(self) -> Mapping[ModelName, int]:
        """A few."""
        return {stored().name: 77}

    async def close(self) -> None:
        """Nothing is left."""
        self.done.append("close")


class FakeTokenizer:
    """A token for each word, in the order in which they stand."""

    async def tokenize(
        self,
        name: ModelName,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        with_pieces: bool = False,
    ) -> Tokenized:
        """With `add_special` all numbers are higher by 1000, with `parse_special` by 100."""
        if name.model in _FAILURES:
            raise _FAILURES[name.model]
        words = text.encode().split()
        first = 1000 * add_special + 100 * parse_special
        return Tokenized(
            tuple(range(first, first + len(words))), tuple(words) if with_pieces else (), num_ctx=4096
        )

    async def detokenize(self, name: ModelName, tokens: tuple[int, ...]) -> str:
        """The numbers."""
        return " ".join(map(str, tokens))

    async def special_tokens(self, name: ModelName) -> SpecialTokens:
        """A beginning, and no end."""
        return SpecialTokens("<s>", "", "{{ messages }}", 4096)


class _Breaking(list[Chunk]):
    """Chunks, and then an error."""

    def __init__(self, chunks: Sequence[Chunk], error: Exception) -> None:
        super().__init__(chunks)
        self._error = error

    def __iter__(self) -> Iterator[Chunk]:
        yield from super().__iter__()
        raise self._error


def _echo(request: GenerateRequest) -> Echo:
    """The prompt, a token for each word and its space; a token id stands for `<id>`."""
    given = request.prompt
    text = given if isinstance(given, str) else "".join(f"<{token}>" for token in given or ())
    if request.top_logprobs is None:
        return Echo(text)
    pieces = re.findall(r"<\d+>|\s*\S+|\s+", text)
    logprobs = [each for piece in pieces[1:] for each in _logprobs(piece, request.top_logprobs)]
    return Echo(text, tuple(piece.encode() for piece in pieces), tuple(logprobs))


def _logprobs(text: str, top: int) -> tuple[TokenLogprob, ...]:
    others = tuple(TokenLogprob(f"alt{i}", -1.5 - i, (97, 98 + i)) for i in range(top))
    return (TokenLogprob(text, -0.25, tuple(text.encode()), others),)
