"""The replies of Ollama's routes and Hutch's own below `/api`, as types. They describe; nothing is made of them."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

JsonDict = dict[str, Any]


class TokenLogprob(TypedDict):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: NotRequired[list["TokenLogprob"]]


class _Answer(TypedDict):
    model: str
    created_at: str
    done: bool
    done_reason: NotRequired[Literal["stop", "length", "load", "unload"]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]
    logprobs: NotRequired[list[TokenLogprob]]
    hardware: NotRequired[JsonDict]
    _debug_info: NotRequired[JsonDict]


class Generated(_Answer):
    """A completed prompt. Durations are in nanoseconds."""

    response: str
    thinking: NotRequired[str]
    context: NotRequired[list[int]]


class _Function(TypedDict):
    index: int
    name: str
    arguments: JsonDict


class _Call(TypedDict):
    id: str
    function: _Function


class _Message(TypedDict):
    role: Literal["assistant"]
    content: str
    thinking: NotRequired[str]
    tool_calls: NotRequired[list[_Call]]


class Said(_Answer):
    """An answer to a conversation."""

    message: _Message


class Embedded(TypedDict):
    """Vectors of texts."""

    model: str
    embeddings: list[list[float]]
    load_duration: int
    total_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]


class Embedding(TypedDict):
    """The vector of one text."""

    embedding: list[float]


class _Details(TypedDict):
    parent_model: str
    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str


class _Model(TypedDict):
    name: str
    model: str
    size: int
    digest: str
    details: _Details


class _StoredModel(_Model):
    modified_at: str
    capabilities: list[str]


class Tags(TypedDict):
    """The models that are here. `broken`: what is wrong with manifests that cannot be read."""

    models: list[_StoredModel]
    broken: NotRequired[list[str]]


class _LoadedModel(_Model):
    expires_at: str
    size_vram: int
    context_length: int
    engine: str
    pid: int | None
    socket: str
    state: str
    slots: int
    busy: int
    queued: int
    kv_cache_type: NotRequired[str]
    less: NotRequired[list[str]]
    tuned: NotRequired[JsonDict]
    hardware: NotRequired[JsonDict]


class Processes(TypedDict):
    """The models that are loaded."""

    models: list[_LoadedModel]


class Description(TypedDict):
    """A model. Fields without a value are left out."""

    details: _Details
    model_info: JsonDict
    capabilities: list[str]
    modified_at: str
    modelfile: str
    license: NotRequired[str]
    parameters: NotRequired[str]
    template: NotRequired[str]
    system: NotRequired[str]
    messages: NotRequired[list[JsonDict]]
    tensors: NotRequired[list[JsonDict]]
    reproducibility: NotRequired[Any]
    hardware: NotRequired[JsonDict]


class Step(TypedDict):
    """How far a job has come; where nothing is streamed, its last step."""

    status: str
    digest: NotRequired[str]
    total: NotRequired[int]
    completed: NotRequired[int]


class Catalog(TypedDict):
    """The models that can be pulled by name."""

    models: list[JsonDict]
    machine: JsonDict
    notes: list[str]


class _Deployment(TypedDict):
    port: int
    model: str
    state: Literal["ready", "starting", "failed"]
    document: JsonDict | None
    variant: str | None
    applied_at: str
    problem: str
    before: JsonDict | None
    recorded: bool


class DeploymentList(TypedDict):
    """What is deployed."""

    deployments: list[_Deployment]


class Version(TypedDict):
    """The version of Ollama's API, and Hutch's own."""

    version: str
    hutch: str


class Status(TypedDict):
    """How the server is."""

    status: str
