"""Each thing that a client can ask, as a value: what is sent, how the answer is read, when it may be sent again.

Nothing here sends anything: `Client` and `AsyncClient` send the same calls.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from hutch.core.errors import BadInput
from hutch.sdk import results, settings
from hutch.sdk.failures import BrokenOff
from hutch.sdk.fields import Fields
from hutch.sdk.lines import Lines, Pieces, ServerEvents
from hutch.sdk.retries import Repeat
from hutch.sdk.settings import Message

T = TypeVar("T")
Said = Mapping[str, Any]
_MAX_IMAGE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and what makes the result of its answer."""

    method: str
    path: str
    read: Callable[[Fields], T]
    body: Said | None = None
    repeat: Repeat = "always"


@dataclass(frozen=True, slots=True)
class StreamCall(Call[T]):
    """A request whose answer comes in pieces."""

    pieces: type[Pieces] = Lines
    is_last: Callable[[T], bool] = bool


def chat(model: str, messages: str | Sequence[Message], said: Said) -> Call[results.Answer]:
    """Answer a conversation."""
    return Call("POST", "/api/chat", _whole, _chat(model, messages, said) | {"stream": False})


def chat_stream(model: str, messages: str | Sequence[Message], said: Said) -> StreamCall[results.Answer]:
    """Answer a conversation piece by piece."""
    return _answering("/api/chat", _chat(model, messages, said))


def generate(model: str, prompt: str, said: Said) -> Call[results.Answer]:
    """Complete a prompt."""
    body = _generate(model, prompt, said) | {"stream": False}
    return Call("POST", "/api/generate", _whole, body)


def generate_stream(model: str, prompt: str, said: Said) -> StreamCall[results.Answer]:
    """Complete a prompt piece by piece."""
    return _answering("/api/generate", _generate(model, prompt, said))


def embed(model: str, texts: str | Sequence[str], said: Said) -> Call[results.Embeddings]:
    """Turn texts into vectors."""
    said = _known(said, settings.EmbedSettings)
    given = texts if isinstance(texts, str) else list(texts)
    return Call("POST", "/api/embed", results.Embeddings.of, {"model": model, "input": given, **said})


def rerank(model: str, query: str, documents: Sequence[str], said: Said) -> Call[results.Ranking]:
    """Put documents in the order in which they answer a query."""
    body = {"model": model, "query": query, "documents": list(documents)}
    body |= _known(said, settings.RerankSettings)
    return Call("POST", "/v1/rerank", results.Ranking.of, body)


def respond(model: str, given: str | Sequence[Said], said: Said) -> Call[results.Response]:
    """Answer in the words of OpenAI's Responses. Not repeated at will, for each answer is kept."""
    body = _respond(model, given, said)
    return Call("POST", "/v1/responses", results.Response.of, body, repeat="refused")


def respond_stream(model: str, given: str | Sequence[Said], said: Said) -> StreamCall[results.ResponseEvent]:
    """The same as events."""
    return StreamCall(
        "POST",
        "/v1/responses",
        results.ResponseEvent.of,
        _respond(model, given, said) | {"stream": True},
        repeat="refused",
        pieces=ServerEvents,
        is_last=lambda event: event.response is not None,
    )


def task(name: str, said: Said) -> Call[results.TaskResult]:
    """Have one of the server's tasks done, which know for themselves what they take."""
    body = {**said, "image": _images([said["image"]])[0]} if "image" in said else said
    return Call("POST", f"/api/tasks/{quote(name, safe='')}", results.TaskResult.of, body)


def list_models() -> Call[tuple[results.Model, ...]]:
    """The models that the server has."""
    return Call("GET", "/api/tags", lambda it: tuple(results.Model.of(row) for row in results.rows(it)))


def ps() -> Call[tuple[results.Running, ...]]:
    """The models that are loaded."""
    return Call("GET", "/api/ps", lambda it: tuple(results.Running.of(row) for row in results.rows(it)))


def show(model: str, *, verbose: bool) -> Call[results.Description]:
    """Everything about a model."""
    return Call("POST", "/api/show", results.Description.of, {"model": model, "verbose": verbose})


def pull(model: str, said: Said) -> StreamCall[results.Progress]:
    """Fetch a model."""
    return _progress("/api/pull", {"model": model, **_known(said, settings.TransferSettings)})


def push(model: str, said: Said) -> StreamCall[results.Progress]:
    """Send a model to the registry that its name says."""
    return _progress("/api/push", {"model": model, **_known(said, settings.TransferSettings)})


def create(model: str, said: Said) -> StreamCall[results.Progress]:
    """Make a model."""
    body = dict(_known(said, settings.CreateSettings))
    if "from_" in body:
        body["from"] = body.pop("from_")
    return _progress("/api/create", {"model": model, **body})


def copy(source: str, destination: str) -> Call[None]:
    """Give a model a second name."""
    return Call("POST", "/api/copy", nothing, {"source": source, "destination": destination})


def delete(model: str) -> Call[None]:
    """Delete a model. A second time it would not be found."""
    return Call("DELETE", "/api/delete", nothing, {"model": model}, repeat="refused")


def load(model: str, said: Said) -> Call[None]:
    """Load a model: a prompt that is empty."""
    body = {"model": model, "stream": False, **_known(said, settings.LoadSettings)}
    return Call("POST", "/api/generate", nothing, body)


def unload(model: str) -> Call[None]:
    """Unload a model."""
    return load(model, {"keep_alive": 0})


def has_blob(digest: str) -> Call[None]:
    """Whether the server has a blob: NotFound where it has not."""
    return Call("HEAD", f"/api/blobs/{digest}", nothing)


def take_blob(digest: str) -> Call[None]:
    """Upload a blob; its bytes are not part of the call."""
    return Call("POST", f"/api/blobs/{digest}", nothing)


def ready() -> Call[None]:
    """Whether the server can answer; what it says now is what was asked, so it is asked once."""
    return Call("GET", "/readyz", nothing, repeat="never")


def version() -> Call[results.Version]:
    """The versions of the server."""
    return Call("GET", "/api/version", results.Version.of)


def _whole(reply: Fields) -> results.Answer:
    answer = results.Answer.of(reply)
    if not answer.done:
        raise BrokenOff("the server's answer broke off before its end")
    return answer


def _answering(path: str, body: Said) -> StreamCall[results.Answer]:
    return StreamCall("POST", path, results.Answer.of, {**body, "stream": True}, is_last=lambda it: it.done)


def _progress(path: str, body: Said) -> StreamCall[results.Progress]:
    body = {**body, "stream": True}
    return StreamCall("POST", path, results.Progress.of, body, is_last=lambda step: step.status == "success")


def _chat(model: str, messages: str | Sequence[Message], said: Said) -> dict[str, Any]:
    given: Sequence[Message] = (
        [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    )
    turns = [{**turn, "images": _images(turn["images"])} if "images" in turn else turn for turn in given]
    return {"model": model, "messages": turns, **_known(said, settings.ChatSettings)}


def _generate(model: str, prompt: str, said: Said) -> dict[str, Any]:
    body = {"model": model, "prompt": prompt, **_known(said, settings.GenerateSettings)}
    return body | {"images": _images(body["images"])} if "images" in body else body


def _respond(model: str, given: str | Sequence[Said], said: Said) -> dict[str, Any]:
    items = given if isinstance(given, str) else list(given)
    return {"model": model, "input": items, **_known(said, settings.RespondSettings)}


def _known(said: Said, kind: Any) -> Said:
    """The keywords of a call. Raises TypeError for one that it does not take, as Python does."""
    unknown = said.keys() - kind.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(kind.__annotations__))
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}; there are: {known}")
    return said


def _images(images: Sequence[settings.Image]) -> list[str]:
    return [image if isinstance(image, str) else base64.b64encode(_bytes(image)).decode() for image in images]


def _bytes(image: bytes | Path) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        with image.open("rb") as file:
            data = file.read(_MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"the image {image} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_IMAGE_BYTES:
        raise BadInput(f"the image {image} has more than {_MAX_IMAGE_BYTES >> 20} MiB")
    return data


def nothing(_: Fields) -> None:
    """For answers that have nothing to tell."""
