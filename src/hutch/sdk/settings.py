"""What calls take beside their first words: keywords, each of which a request names as the API does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

Image = str | bytes | Path  # base64 as it stands, the bytes of a picture, or where its file is
Think = bool | Literal["low", "medium", "high", "max"]


class Options(TypedDict, total=False):
    """How a model is loaded and how its tokens are chosen, by Ollama's names."""

    num_ctx: int
    num_batch: int
    num_gpu: int
    main_gpu: int
    hardware: str
    use_mmap: bool
    num_thread: int
    draft_num_predict: int
    num_keep: int
    seed: int
    num_predict: int
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repeat_last_n: int
    temperature: float
    repeat_penalty: float
    presence_penalty: float
    frequency_penalty: float
    stop: Sequence[str]


class Message(TypedDict):
    """One turn of a conversation. A result of a tool has the role "tool"."""

    role: Literal["system", "user", "assistant", "tool"]
    content: NotRequired[str]
    thinking: NotRequired[str]
    images: NotRequired[Sequence[Image]]
    tool_calls: NotRequired[Sequence[Mapping[str, Any]]]
    tool_name: NotRequired[str]
    tool_call_id: NotRequired[str]


class LoadSettings(TypedDict, total=False):
    """What loading a model takes. `keep_alive` is how long it stays: seconds, or "5m"; -1 is for ever."""

    options: Options
    keep_alive: float | str


class _Asking(LoadSettings, total=False):
    format: Literal["json"] | Mapping[str, Any]
    think: Think
    logprobs: bool
    top_logprobs: int
    truncate: bool
    shift: bool


class ChatSettings(_Asking, total=False):
    """What a conversation may say. `format` is "json" or a JSON Schema that the answer keeps to."""

    tools: Sequence[Mapping[str, Any]]


class GenerateSettings(_Asking, total=False):
    """What a prompt may come with. `raw` sends it without the model's template; `suffix` stands behind the gap to fill."""

    system: str
    template: str
    suffix: str
    context: Sequence[int]
    raw: bool
    images: Sequence[Image]


class EmbedSettings(LoadSettings, total=False):
    """What embedding takes: vectors of fewer `dimensions`; whether a long text is cut."""

    dimensions: int
    truncate: bool


class RerankSettings(TypedDict, total=False):
    """What ranking takes: only so many of the best."""

    top_n: int


class RespondSettings(TypedDict, total=False):
    """What `/v1/responses` takes, by OpenAI's names."""

    instructions: str
    previous_response_id: str
    max_output_tokens: int
    temperature: float
    top_p: float
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    text: Mapping[str, Any]
    reasoning: Mapping[str, Any]
    truncation: str
    metadata: Mapping[str, str]
    store: bool


class TransferSettings(TypedDict, total=False):
    """What a pull or a push takes: whether plain HTTP and unknown certificates are allowed."""

    insecure: bool


class CreateSettings(TypedDict, total=False):
    """What a model is made of: another one (`from_`), or files by name and digest (`create_blob` gives it)."""

    from_: str
    files: Mapping[str, str]
    adapters: Mapping[str, str]
    draft_files: Mapping[str, str]
    documents: Mapping[str, str]
    system: str
    template: str
    parameters: Mapping[str, Any]
    messages: Sequence[Message]
    license: str | Sequence[str]
    renderer: str
    parser: str
    requires: str
    info: Mapping[str, Any]
    quantize: str
    draft_quantize: str
