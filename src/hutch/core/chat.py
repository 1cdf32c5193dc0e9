"""One internal request, and the stream of chunks that answers it.

Dialects translate to these at the edge. An engine never sees a dialect, a dialect never sees an engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from hutch.core.names import ModelName

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool. `arguments` is JSON text; in a stream it is the next piece of that text."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message: what its bytes say they are, and the bytes in base64."""

    media_type: str
    base64: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `role` is system, user, assistant or tool."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    tool_name: str = ""
    images: tuple[Image, ...] = ()  # seen before the content is read


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen and when to stop. None means: not said here."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_last_n: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    num_keep: int | None = None
    stop: tuple[str, ...] | None = None
    logit_bias: tuple[tuple[int, float], ...] | None = None

    def over(self, below: "Sampling") -> "Sampling":
        """These values, and those of `below` where this says nothing."""
        return _over(self, below)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options that a loaded model cannot change. None means: as it is, or by default."""

    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    hardware: tuple[str, ...] | None = None  # what to run on, best first
    num_thread: int | None = None
    use_mmap: bool | None = None
    draft_num_predict: int | None = None
    shift: bool | None = None  # go on at the context's end, without the oldest tokens

    def over(self, below: "LoadOptions") -> "LoadOptions":
        """These values, and those of `below` where this says nothing."""
        return _over(self, below)


_Options = TypeVar("_Options", Sampling, LoadOptions)


def _over(above: _Options, below: _Options) -> _Options:
    # Every request does this several times before its first token: `fields` and `replace` would take five times as long.
    names = above.__slots__
    return type(above)(*[getattr(below if getattr(above, name) is None else above, name) for name in names])


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer must match: a regular expression, or a grammar in GBNF or in llguidance's Lark. `param` is its field.

    `grammar` is the same as engines take it, once somebody has looked whether they can.
    """

    kind: Literal["regex", "grammar"]
    text: str
    param: str
    grammar: str = ""
    is_gbnf: bool = False


ResponseFormat = (
    Literal["json"] | JsonObject | Form
)  # any JSON object, or one of this schema, or a text of this form


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A request for text. Exactly one of `messages` and `prompt` is given.

    `prompt` goes to the model as it stands (text, or token ids), unless there is a `suffix`; `messages` go through its
    template.
    """

    model: ModelName
    messages: tuple[Message, ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    context: tuple[int, ...] = ()  # tokens to put before the rendered messages
    suffix: str = ""  # what comes after the text that is wanted; `prompt` then is what comes before it
    template: str | None = None  # instead of the model's own
    sampling: Sampling = field(default_factory=Sampling)
    dialect_defaults: Sampling = field(default_factory=Sampling)  # below the model's own parameters
    load: LoadOptions = field(default_factory=LoadOptions)
    keep_alive_s: float | None = None
    response_format: ResponseFormat | None = None
    tools: tuple[JsonObject, ...] = ()
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    top_logprobs: int | None = None  # None: no log-probabilities; 0: of the chosen token alone
    think: bool | str | None = None  # a text is a level; None: as far as the model can
    needs_thinking: bool = True  # False: a model that cannot think answers without
    truncate: bool = True  # drop the oldest messages where the prompt is too long
    want_context: bool = False  # the last chunk carries the tokens of the whole exchange
    echo: bool = False  # the first chunk carries the prompt; with log-probabilities where those are asked for
    num_choices: int = 1  # how many answers to the one prompt; with a seed, the next one has the next seed


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its natural-log probability, and the likeliest tokens in its place."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a finished request took. `prompt_tokens` counts cached tokens too."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    load_s: float = 0.0
    prompt_s: float = 0.0
    decode_s: float = 0.0
    total_s: float = 0.0


FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt, told back.

    `pieces` are the bytes of its tokens, and `logprobs` tells of each but the first, before which there was nothing to judge
    by. Both are empty where no log-probabilities were asked for.
    """

    text: str
    pieces: tuple[bytes, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. The last one of each `choice`, and only that, has `finish_reason` and `usage`."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    stopped_by: str = ""  # the stop text that ended the answer, where that is known
    usage: Usage | None = None
    context: tuple[int, ...] = ()
    choice: int = 0  # which of the answers it belongs to
    echo: Echo | None = None


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to turn into vectors. `normalize`: to unit length."""

    model: ModelName
    texts: tuple[str | tuple[int, ...], ...]
    truncate: bool = True
    dimensions: int | None = None
    normalize: bool = True
    load: LoadOptions = field(default_factory=LoadOptions)
    keep_alive_s: float | None = None


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Documents to be put in the order in which they answer `query`. `top_n`: only so many of the best."""

    model: ModelName
    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    load: LoadOptions = field(default_factory=LoadOptions)
    keep_alive_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document by its place in the request. The higher the score, the better the answer; its scale is the model's."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, the best first."""

    results: tuple[Ranked, ...]
    prompt_tokens: int
    load_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each text, in order."""

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int
    load_s: float
    total_s: float
