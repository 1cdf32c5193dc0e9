"""Passages of documents by meaning: an embedding model of the store makes vectors of them, once, and of each question.

Never holds an answer up for long: what is not ready in time, or finds no room, is left out, and the log says so.
"""

import asyncio
import hashlib
import importlib
import logging
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from hutch.core.chat import Embeddings, EmbedRequest
from hutch.core.errors import BadInput, HutchError, NotFound
from hutch.core.models import Model, StoredModel
from hutch.core.names import ModelName
from hutch.formats import headers
from hutch.prompt.knowledge import CUT, Knowledge
from hutch.store import vectors

NO_MODEL = "none"
_PATIENCE_S = 5.0  # how long an answer waits to be helped
_BATCH = 32
_NUM_ALIKE = 24
_LIKENESS = "hutch.prompt.likeness"
_log = logging.getLogger(__name__)

Embed = Callable[[EmbedRequest], Awaitable[Embeddings]]


class Library(Protocol):
    """What is needed of a model store."""

    root: Path

    def list(self) -> list[StoredModel]:
        """Every model."""

    def open(self, name: ModelName) -> Model:
        """The model of that name. Raises NotFound or FormatError."""


class Meaning:
    """Which passages are near to a question. `wanted` names the model for it; "" takes the smallest that is there."""

    def __init__(self, library: Library, wanted: str, patience_s: float = _PATIENCE_S) -> None:
        self._library = library
        self._wanted = wanted
        self._patience_s = patience_s
        self._tasks: set[asyncio.Task[Any]] = set()
        # For what is known of loaded models, by the embedding model's manifest. Goes when they go.
        self._known: WeakKeyDictionary[Knowledge, dict[str, asyncio.Task[bytes]]] = WeakKeyDictionary()
        self._embeds: dict[tuple[ModelName, str], bool] = {}

    async def alike(self, knowledge: Knowledge, question: str, embed: Embed) -> Sequence[int]:
        """The passages nearest to a question, the best first; none where there is no model for it, or no time.

        Raises HutchError where the model that was asked for by the settings cannot do it.
        """
        model = await asyncio.to_thread(self._model)
        if model is None:
            return ()
        work = self._background(self._alike(knowledge, question, model, embed))
        await asyncio.wait((work,), timeout=self._patience_s)
        if not work.done():
            _log.warning("%s is still reading documents: they are searched by words", model.name.short)
            return ()
        try:
            found: Sequence[int] = work.result()
        except HutchError as error:
            _log.warning("documents are searched by words, without %s: %s", model.name.short, error.message)
            return ()
        return found

    async def close(self) -> None:
        """Stop whatever is being read."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _alike(self, knowledge: Knowledge, question: str, model: Model, embed: Embed) -> Sequence[int]:
        known = self._known.setdefault(knowledge, {})
        content = model.stored.digest
        making = known.get(content)
        if making is None or (making.done() and (making.cancelled() or making.exception())):
            making = known[content] = self._background(self._vectors(knowledge, model, embed))
        rows = await asyncio.shield(making)
        asked = await embed(EmbedRequest(model.name, (question,)))
        likeness = await asyncio.to_thread(importlib.import_module, _LIKENESS)
        found: Sequence[int] = await asyncio.to_thread(likeness.alike, asked.vectors[0], rows, _NUM_ALIKE)
        return found

    async def _vectors(self, knowledge: Knowledge, model: Model, embed: Embed) -> bytes:
        """A row for each passage, in order: kept ones, and new ones that are kept from now on."""
        rows: list[bytes] = []
        for document, texts in knowledge.parts:
            name = vectors.name_of(_weights(model), document, CUT + _variant(model))
            made = await asyncio.to_thread(vectors.read, self._library.root, name, len(texts))
            if made is None:
                made = await _embedded(texts, model.name, embed)
                try:
                    await asyncio.to_thread(vectors.write, self._library.root, name, made)
                except HutchError as error:
                    _log.warning("vectors of a document are not kept: %s", error.message)
            rows.append(made)
        return b"".join(rows)

    def _model(self) -> Model | None:
        if self._wanted == NO_MODEL:
            return None
        if self._wanted:
            return self._named(ModelName.parse(self._wanted))
        for stored in sorted(self._library.list(), key=lambda each: (each.size_bytes, each.name)):
            key = (stored.name, stored.digest)
            try:
                if self._embeds.get(key, True):
                    model = self._library.open(stored.name)
                    self._embeds[key] = _can_embed(model)
                    if self._embeds[key]:
                        return model
            except (BadInput, NotFound) as error:  # damaged, or gone since it was listed
                _log.debug("%s is not asked for meanings: %s", stored.name.short, error.message)
        return None

    def _named(self, name: ModelName) -> Model:
        hint = "Pull an embedding model of that name, or change the setting."
        try:
            model = self._library.open(name)
        except NotFound as error:
            raise HutchError(f"setting 'knowledge_model': {error.message}", hint=hint) from error
        if not _can_embed(model):
            raise HutchError(f"setting 'knowledge_model': {name.short} makes no embeddings", hint=hint)
        return model

    def _background(self, work: "Coroutine[Any, Any, Any]") -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Looked at here too, for whoever began it may have left.
            _log.debug("documents were not read: %s", error)


def _weights(model: Model) -> Path:
    """The file that makes its vectors what they are: of an ONNX model, the largest."""
    return model.weights[0] if model.weights else max((each.path for each in model.files), key=_size_bytes)


def _variant(model: Model) -> str:
    """What tells two models of the same weights apart: of an ONNX model, its tokenizer and how it pools too."""
    files = "\n".join(sorted(f"{each.name} {each.path.name}" for each in model.files))
    return f".{hashlib.sha256(files.encode()).hexdigest()[:16]}" if files else ""


def _size_bytes(path: Path) -> int:
    return path.stat().st_size


async def _embedded(texts: Sequence[str], model: ModelName, embed: Embed) -> bytes:
    rows = array("f")
    for first in range(0, len(texts), _BATCH):
        batch = await embed(EmbedRequest(model, tuple(texts[first : first + _BATCH])))
        for vector in batch.vectors:
            rows.extend(vector)
    return rows.tobytes()


def _can_embed(model: Model) -> bool:
    facts = headers.facts(model)
    return facts.is_embedding and not facts.is_reranker
