"""What calls give back. Frozen dataclasses: fields that a server leaves out have their plain value, and `raw` is what came.

Durations are in seconds and end in `_s`; sizes are in bytes and end in `_bytes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from hutch.sdk.fields import Fields, moment, needed, vectors
from hutch.sdk.settings import Message

Raw = Mapping[str, Any]
_NANO = 1e-9


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called, and with what."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""

    @classmethod
    def of(cls, call: Fields) -> Self:
        """Read an entry of `tool_calls`."""
        function = call.inner("function")
        return cls(function.text("name"), function.inner("arguments").raw, call.text("id"))


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its log-probability, and the likeliest tokens in its place."""

    token: str
    logprob: float
    top: tuple["TokenLogprob", ...] = ()

    @classmethod
    def of(cls, entry: Fields) -> Self:
        """Read an entry of `logprobs`."""
        top = tuple(TokenLogprob.of(each) for each in entry.inners("top_logprobs"))
        return cls(entry.text("token"), entry.number("logprob"), top)


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a request, and the seconds that they took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_s: float = 0.0
    load_s: float = 0.0
    prompt_s: float = 0.0
    decode_s: float = 0.0

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read the counters of one of Ollama's replies."""
        durations = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
        counts = (reply.count("prompt_eval_count"), reply.count("eval_count"))
        return cls(*counts, *(reply.number(name) * _NANO for name in durations))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a conversation or a prompt; of a stream one piece of it, the last of which is `done`."""

    model: str
    text: str
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    done: bool = True
    done_reason: str = ""
    usage: Usage = Usage()
    context: tuple[int, ...] = field(default=(), repr=False)
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read a reply of `/api/chat` or `/api/generate`."""
        needed(reply, "done")
        message = reply.inner("message")
        said = message if message.raw else reply
        return cls(
            reply.text("model"),
            message.text("content") + reply.text("response"),
            said.text("thinking"),
            tuple(ToolCall.of(call) for call in said.inners("tool_calls")),
            tuple(TokenLogprob.of(entry) for entry in reply.inners("logprobs")),
            reply.flag("done"),
            reply.text("done_reason"),
            Usage.of(reply),
            tuple(reply.items("context")),
            reply.raw,
        )

    @property
    def message(self) -> Message:
        """The answer as a message, for a conversation that goes on."""
        message: Message = {"role": "assistant", "content": self.text}
        if self.thinking:
            message["thinking"] = self.thinking
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
                for call in self.tool_calls
            ]
        return message


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each text."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage = Usage()

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read a reply of `/api/embed`."""
        needed(reply, "embeddings")
        return cls(reply.text("model"), vectors(reply, "embeddings"), Usage.of(reply))


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document's place in the request, and how well it answers the query."""

    index: int
    score: float

    @classmethod
    def of(cls, result: Fields) -> Self:
        """Read an entry of `results`."""
        return cls(result.count("index"), result.number("relevance_score"))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents in the order in which they answer a query, the best first."""

    model: str
    results: tuple[Ranked, ...]
    prompt_tokens: int = 0

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read a reply of `/v1/rerank`."""
        needed(reply, "results")
        results = tuple(Ranked.of(each) for each in reply.inners("results"))
        return cls(reply.text("model"), results, reply.inner("usage").count("prompt_tokens"))


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task gave, by its fields: `result["summary"]`. `usage` is empty where no model was asked."""

    fields: Mapping[str, Any]
    usage: Usage = Usage()

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read a reply of `/api/tasks/…`."""
        return cls(reply.raw, Usage.of(reply))

    def __getitem__(self, name: str) -> Any:
        """A field of it."""
        return self.fields[name]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of `/v1/responses`. Its `id` is what the next one calls `previous_response_id`."""

    id: str
    model: str
    status: str
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read a response object."""
        needed(reply, "id", "status")
        output, usage = reply.inners("output"), reply.inner("usage")
        texts = [
            part.text("text")
            for item in output
            for part in item.inners("content")
            if item.text("type") == "message"
        ]
        calls = tuple(
            ToolCall(
                item.text("name"),
                Fields.parse(item.text("arguments").encode() or b"{}").raw,
                item.text("call_id"),
            )
            for item in output
            if item.text("type") == "function_call" and item.text("status") == "completed"
        )
        counts = usage.count("input_tokens"), usage.count("output_tokens")
        return cls(
            reply.text("id"),
            reply.text("model"),
            reply.text("status"),
            "".join(texts),
            calls,
            *counts,
            reply.raw,
        )


@dataclass(frozen=True, slots=True)
class ResponseEvent:
    """An event of a streamed response: the text that it adds, and with the last one the whole response."""

    type: str
    text: str = ""
    response: Response | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, event: Fields) -> Self:
        """Read an event."""
        needed(event, "type")
        kind = event.text("type")
        is_last = kind in ("response.completed", "response.incomplete")
        whole = Response.of(event.inner("response")) if is_last else None
        text = event.text("delta") if kind == "response.output_text.delta" else ""
        return cls(kind, text, whole, event.raw)


@dataclass(frozen=True, slots=True)
class Progress:
    """A step of a pull, a push or a creation; of a blob also how much of it is done."""

    status: str
    digest: str = ""
    total_bytes: int = 0
    completed_bytes: int = 0

    @classmethod
    def of(cls, step: Fields) -> Self:
        """Read a line of progress."""
        needed(step, "status")
        return cls(step.text("status"), step.text("digest"), step.count("total"), step.count("completed"))


@dataclass(frozen=True, slots=True)
class Details:
    """What a listing tells about a model's weights."""

    format: str = ""
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    parent_model: str = ""

    @classmethod
    def of(cls, details: Fields) -> Self:
        """Read `details`."""
        names = ("format", "family", "parameter_size", "quantization_level", "parent_model")
        return cls(*(details.text(name) for name in names))


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server has."""

    name: str
    digest: str
    size_bytes: int
    modified_at: datetime | None
    details: Details
    capabilities: tuple[str, ...] = ()
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, row: Fields) -> Self:
        """Read a row of `/api/tags`."""
        needed(row, "name")
        return cls(
            row.text("name"),
            row.text("digest"),
            row.count("size"),
            moment(row, "modified_at"),
            Details.of(row.inner("details")),
            row.texts("capabilities"),
            row.raw,
        )


def rows(reply: Fields) -> list[Fields]:
    """The rows of a list of models."""
    needed(reply, "models")
    return reply.inners("models")


@dataclass(frozen=True, slots=True)
class Running:
    """A model that is loaded. `num_busy` of its `num_slots` answer now, `num_queued` requests wait for one."""

    name: str
    digest: str
    size_bytes: int
    context_length: int
    expires_at: datetime | None
    details: Details
    engine: str = ""
    state: str = ""
    pid: int = 0
    num_slots: int = 0
    num_busy: int = 0
    num_queued: int = 0
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, row: Fields) -> Self:
        """Read a row of `/api/ps`."""
        needed(row, "name")
        return cls(
            row.text("name"),
            row.text("digest"),
            row.count("size"),
            row.count("context_length"),
            moment(row, "expires_at"),
            Details.of(row.inner("details")),
            row.text("engine"),
            row.text("state"),
            row.count("pid"),
            row.count("slots"),
            row.count("busy"),
            row.count("queued"),
            row.raw,
        )


@dataclass(frozen=True, slots=True)
class Description:
    """Everything about a model. `info` are the metadata of its file."""

    details: Details
    capabilities: tuple[str, ...]
    parameters: str
    template: str
    system: str
    license: str
    modelfile: str
    info: Raw = field(repr=False)
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read a reply of `/api/show`."""
        needed(reply, "details")
        return cls(
            Details.of(reply.inner("details")),
            reply.texts("capabilities"),
            reply.text("parameters"),
            reply.text("template"),
            reply.text("system"),
            reply.text("license"),
            reply.text("modelfile"),
            reply.inner("model_info").raw,
            reply.raw,
        )


@dataclass(frozen=True, slots=True)
class Version:
    """Hutch's version ("" where it is another server), and that of the Ollama API that it speaks."""

    hutch: str
    api: str

    @classmethod
    def of(cls, reply: Fields) -> Self:
        """Read a reply of `/api/version`."""
        needed(reply, "version")
        return cls(reply.text("hutch"), reply.text("version"))


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the server can answer requests, and if not, why."""

    is_ready: bool
    problem: str = ""
