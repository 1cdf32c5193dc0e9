"""What routes answer with, as types: for the description of the API, never to make an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from hutch.api import replies_ollama as ollama
from hutch.api import replies_openai as openai
from hutch.api import tasks_wire as tasks
from hutch.api.stream import NDJSON, SSE

_PROMETHEUS = "text/plain"


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of one route. `stream` is the media type that it has instead where it comes in pieces."""

    type: Any = None  # None: there is no body, or one that is no JSON
    stream: str = ""
    statuses: tuple[int, ...] = (200,)


class _Error(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(TypedDict):
    """An error of the routes below `/v1`."""

    error: _Error


class _AnthropicError(TypedDict):
    type: str
    message: str


class AnthropicError(TypedDict):
    """An error of `/v1/messages`."""

    type: Literal["error"]
    error: _AnthropicError
    request_id: None


class OllamaError(TypedDict):
    """An error of the routes below `/api`."""

    error: str
    code: NotRequired[str]
    hint: NotRequired[str]


ERRORS: Mapping[str, Any] = {"OpenAI": OpenAIError, "Anthropic": AnthropicError, "Ollama": OllamaError}


class _Task(TypedDict):
    name: str
    description: str
    asks_model: Literal["always", "sometimes", "never"]
    input: dict[str, Any]
    output: dict[str, Any]


class _TaskList(TypedDict):
    tasks: list[_Task]


_STEPS = Reply(ollama.Step, NDJSON)
_METRICS = Reply(stream=_PROMETHEUS)
_ANSWER = Reply(openai.Response)
# By method and path. A route without a row is described without a form.
REPLIES: Mapping[str, Reply] = {
    "POST /v1/chat/completions": Reply(openai.ChatCompletion, SSE),
    "POST /v1/completions": Reply(openai.Completion, SSE),
    "POST /v1/responses": Reply(openai.Response, SSE),
    "GET /v1/responses/{response}": _ANSWER,
    "DELETE /v1/responses/{response}": Reply(openai.ResponseDeleted),
    "POST /v1/responses/{response}/cancel": _ANSWER,
    "GET /v1/responses/{response}/input_items": Reply(openai.ResponseItems),
    "POST /v1/messages": Reply(openai.AnthropicMessage, SSE),
    "POST /v1/messages/count_tokens": Reply(openai.AnthropicCount),
    "GET /v1/models": Reply(openai.ModelList),
    "GET /v1/models/{model:path}": Reply(openai.Model),
    "POST /v1/embeddings": Reply(openai.EmbeddingList),
    "POST /v1/rerank": Reply(openai.Ranking),
    "POST /v1/score": Reply(openai.ScoreList),
    "POST /score": Reply(openai.ScoreList),
    "GET /api/tasks": Reply(_TaskList),
    "POST /api/tasks/summarize": Reply(tasks.Summary),
    "POST /api/tasks/rewrite": Reply(tasks.NewText),
    "POST /api/tasks/translate": Reply(tasks.NewText),
    "POST /api/tasks/classify": Reply(tasks.Label),
    "POST /api/tasks/extract": Reply(tasks.Extracted),
    "POST /api/tasks/table": Reply(tasks.Tabled),
    "POST /api/tasks/redact": Reply(tasks.Redacted),
    "POST /api/tasks/describe": Reply(tasks.Description),
    "POST /api/tasks/ocr": Reply(tasks.Read),
    "POST /api/tasks/enhance": Reply(tasks.Enhanced),
    "POST /tokenize": Reply(openai.LlamaTokens | openai.VllmTokens),
    "POST /detokenize": Reply(openai.Text),
    "POST /apply-template": Reply(openai.Prompt),
    "GET /tokenizer_info": Reply(openai.TokenizerInfo),
    "POST /api/generate": Reply(ollama.Generated, NDJSON),
    "POST /api/chat": Reply(ollama.Said, NDJSON),
    "POST /api/embed": Reply(ollama.Embedded),
    "POST /api/embeddings": Reply(ollama.Embedding),
    "GET /api/tags": Reply(ollama.Tags),
    "GET /api/ps": Reply(ollama.Processes),
    "POST /api/show": Reply(ollama.Description),
    "POST /api/pull": _STEPS,
    "POST /api/push": _STEPS,
    "POST /api/create": _STEPS,
    "POST /api/copy": Reply(),
    "DELETE /api/delete": Reply(),
    "HEAD /api/blobs/{digest}": Reply(),
    "POST /api/blobs/{digest}": Reply(statuses=(200, 201)),
    "GET /api/catalog": Reply(ollama.Catalog),
    "GET /api/hardware": Reply(dict[str, Any]),
    "GET /api/deployments": Reply(ollama.DeploymentList),
    "PUT /api/deployments/{port}": _STEPS,
    "DELETE /api/deployments/{port}": Reply(),
    "POST /api/deployments/{port}/rollback": _STEPS,
    "GET /api/queue": Reply(dict[str, Any]),
    "GET /api/status": Reply(dict[str, Any]),
    "GET /metrics": _METRICS,
    "GET /api/metrics": _METRICS,
    "GET /api/version": Reply(ollama.Version),
    "GET /api/health": Reply(ollama.Status),
    "GET /healthz": Reply(ollama.Status),
    "GET /readyz": Reply(ollama.Status),
}
