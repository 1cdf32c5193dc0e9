"""The replies of the routes below `/v1` and of those about tokens, as types. They describe; nothing is made of them."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from hutch.api.replies_ollama import TokenLogprob

JsonDict = dict[str, Any]


class _CachedTokens(TypedDict):
    cached_tokens: int


class _Usage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _CachedTokens


class _InputUsage(TypedDict):
    prompt_tokens: int
    total_tokens: int


class _Function(TypedDict):
    name: str
    arguments: str


class _Call(TypedDict):
    id: str
    type: Literal["function"]
    function: _Function


class _Message(TypedDict):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: NotRequired[list[_Call]]
    function_call: NotRequired[_Function]
    reasoning_content: NotRequired[str]
    reasoning: NotRequired[str]


class _ChatLogprobs(TypedDict):
    content: list[TokenLogprob]
    refusal: None


class _ChatChoice(TypedDict):
    index: int
    message: _Message
    logprobs: _ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "function_call"]


class ChatCompletion(TypedDict):
    """Answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[_ChatChoice]
    usage: _Usage


class _TextLogprobs(TypedDict):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class _TextChoice(TypedDict):
    index: int
    text: str
    logprobs: _TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class Completion(TypedDict):
    """Texts that were gone on with."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[_TextChoice]
    usage: _Usage


class _OutputTokens(TypedDict):
    reasoning_tokens: int


class _ResponseUsage(TypedDict):
    input_tokens: int
    input_tokens_details: JsonDict
    output_tokens: int
    output_tokens_details: _OutputTokens
    total_tokens: int


class _ResponseError(TypedDict):
    code: str
    message: str


class _Item(TypedDict):
    type: str
    id: str
    status: NotRequired[str]


class Response(TypedDict):
    """An answer of the Responses API."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: _ResponseError | None
    incomplete_details: JsonDict | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[_Item]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: JsonDict
    store: bool
    temperature: float
    text: JsonDict
    tool_choice: str | JsonDict
    tools: list[JsonDict]
    top_logprobs: int
    top_p: float
    truncation: str
    usage: _ResponseUsage | None


class ResponseDeleted(TypedDict):
    """That an answer is forgotten."""

    id: str
    object: str
    deleted: bool


class ResponseItems(TypedDict):
    """What was asked."""

    object: Literal["list"]
    data: list[JsonDict]
    first_id: str | None
    last_id: str | None
    has_more: bool


class _AnthropicUsage(TypedDict):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class _Block(TypedDict):
    type: Literal["text", "thinking", "tool_use"]
    text: NotRequired[str]
    thinking: NotRequired[str]
    signature: NotRequired[str]
    id: NotRequired[str]
    name: NotRequired[str]
    input: NotRequired[JsonDict]


class AnthropicMessage(TypedDict):
    """An answer in Anthropic's words."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[_Block]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    usage: _AnthropicUsage


class AnthropicCount(TypedDict):
    """How many tokens a conversation has."""

    input_tokens: int


class Model(TypedDict):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """The models."""

    object: Literal["list"]
    data: list[Model]


class _Embedding(TypedDict):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(TypedDict):
    """Vectors; each is base64 of 32-bit numbers where that was asked for."""

    object: Literal["list"]
    data: list[_Embedding]
    model: str
    usage: _InputUsage


class _Document(TypedDict):
    text: str


class _Ranked(TypedDict):
    index: int
    relevance_score: float
    document: NotRequired[_Document]


class Ranking(TypedDict):
    """Documents, those that answer best first."""

    object: Literal["list"]
    model: str
    results: list[_Ranked]
    usage: _InputUsage


class _Score(TypedDict):
    index: int
    object: Literal["score"]
    score: float


class ScoreList(TypedDict):
    """How well pairs of texts fit."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[_Score]
    usage: _InputUsage


class _Piece(TypedDict):
    id: int
    piece: str | list[int]


class LlamaTokens(TypedDict):
    """The tokens of a text, as llama.cpp has them."""

    tokens: list[int] | list[_Piece]


class VllmTokens(TypedDict):
    """The tokens of a text, as vLLM has them."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class Text(TypedDict):
    """The text of tokens, under both servers' names."""

    content: str
    prompt: str


class Prompt(TypedDict):
    """What the model would read."""

    prompt: str


class TokenizerInfo(TypedDict):
    """What begins and ends a model's texts."""

    bos_token: str | None
    eos_token: str | None
    chat_template: str | None
    model_max_length: int
