"""Passages ranked by meaning, with an embedding model of a few lines."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hutch.core.chat import Embeddings, EmbedRequest
from hutch.core.errors import Busy, HutchError, NotFound
from hutch.core.models import Details, Document, Model, StoredModel
from hutch.core.names import ModelName
from hutch.prompt.knowledge import Knowledge
from hutch.runtime.meaning import Embed, Meaning
from hutch.store import layout
from tests.gguf_files import tiny_model

_THEMES = ("badge", "lunch", "key")


class Shelf:
    """A store with a model that writes and one that embeds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, more in {"writer": {}, "embedder": {"llama.pooling_type": 1}}.items():
            (root / f"sha256-{name}").write_bytes(tiny_model(more))

    def list(self) -> list[StoredModel]:
        """The writer is the smaller one."""
        return [_stored("embedder", 20), _stored("writer", 10)]

    def open(self, name: ModelName) -> Model:
        """The model of that name."""
        if name.model not in ("writer", "embedder"):
            raise NotFound(f"model '{name.model}' not found")
        return Model(_stored(name.model, 1), (self.root / f"sha256-{name.model}",))


def _stored(name: str, size_bytes: int) -> StoredModel:
    return StoredModel(ModelName.parse(name), name, size_bytes, datetime.now(UTC), Details())


class Embedder:
    """Gives each theme an axis. Counts what it was asked."""

    def __init__(self) -> None:
        self.batches: list[Sequence[str]] = []
        self.failure: HutchError | None = None
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: EmbedRequest) -> Embeddings:
        texts = [str(text) for text in request.texts]
        self.batches.append(texts)
        self.asked.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        assert request.model.model == "embedder"
        return Embeddings(
            tuple(tuple(float(theme in text) for theme in _THEMES) for text in texts), 1, 0.0, 0.0
        )


def _known() -> Knowledge:
    texts = {theme: f"The {theme} is here. " * 100 for theme in _THEMES}
    return Knowledge([Document(theme, Path(f"sha256-{theme}"), text) for theme, text in texts.items()])


def _themes(known: Knowledge, found: Sequence[int]) -> list[str]:
    texts = [text for _, part in known.parts for text in part]
    return [next(theme for theme in _THEMES if theme in texts[index]) for index in found]


def _tell(
    folder: Path,
    story: Callable[[Meaning, Embed, Embedder], Awaitable[None]],
    wanted: str = "",
    patience_s: float = 5.0,
) -> None:
    async def whole() -> None:
        meaning, embedder = Meaning(Shelf(folder), wanted, patience_s), Embedder()
        try:
            await asyncio.wait_for(story(meaning, embedder, embedder), 10)
        finally:
            await meaning.close()

    asyncio.run(whole())


@pytest.mark.parametrize("wanted", ["", "embedder"])
def test_passages_near_to_the_question_come_first(tmp_path: Path, wanted: str) -> None:
    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        known = _known()
        found = _themes(known, await meaning.alike(known, "lunch?", embed))
        assert found[0] == "lunch"
        assert set(found) == set(_THEMES)

    _tell(tmp_path, story, wanted)


def test_vectors_are_made_once_and_kept(tmp_path: Path) -> None:
    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        known = _known()
        await asyncio.gather(*(meaning.alike(known, f"key {n}?", embed) for n in range(3)))
        assert len(embedder.batches) == len(_THEMES) + 3
        await meaning.alike(_known(), "key?", embed)  # loaded anew, they lie on the disk
        assert len(embedder.batches) == len(_THEMES) + 4

    _tell(tmp_path, story)
    kept = sorted(each.name for each in layout.vectors_folder(tmp_path).iterdir())
    assert kept == [f"embedder-{theme}-200-40" for theme in sorted(_THEMES)]


def test_an_answer_does_not_wait_long_but_the_next_one_profits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        known = _known()
        embedder.gate.clear()
        assert await meaning.alike(known, "key?", embed) == ()
        embedder.gate.set()
        assert _themes(known, await meaning.alike(known, "key?", embed))[0] == "key"

    _tell(tmp_path, story, patience_s=0.2)
    assert "is still reading documents" in caplog.text


def test_what_finds_no_room_leaves_words_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        known = _known()
        embedder.failure = Busy("no room")
        assert await meaning.alike(known, "key?", embed) == ()
        embedder.failure = None
        assert await meaning.alike(known, "key?", embed)

    _tell(tmp_path, story)
    assert "searched by words, without embedder:latest: no room" in caplog.text


def test_vectors_that_cannot_be_kept_are_used_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        monkeypatch.setattr("hutch.files.write_whole", full)
        assert await meaning.alike(_known(), "key?", embed)

    _tell(tmp_path, story)
    assert "vectors of a document are not kept: no room left in" in caplog.text


def test_none_means_none(tmp_path: Path) -> None:
    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        assert await meaning.alike(_known(), "key?", embed) == ()
        assert not embedder.batches

    _tell(tmp_path, story, "none")


def test_without_an_embedding_model_there_is_none(tmp_path: Path) -> None:
    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        (tmp_path / "sha256-embedder").write_bytes(b"no GGUF")
        assert await meaning.alike(_known(), "key?", embed) == ()
        assert not embedder.batches

    _tell(tmp_path, story)


@pytest.mark.parametrize(
    ("wanted", "problem"), [("absent", "'absent' not found"), ("writer", "writer:latest makes no embeddings")]
)
def test_a_setting_that_names_no_embedding_model_is_an_error(
    tmp_path: Path, wanted: str, problem: str
) -> None:
    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        with pytest.raises(HutchError, match=f"^setting 'knowledge_model': .*{problem}"):
            await meaning.alike(_known(), "key?", embed)

    _tell(tmp_path, story, wanted)


def test_who_leaves_does_not_end_what_others_wait_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def story(meaning: Meaning, embed: Embed, embedder: Embedder) -> None:
        known = _known()
        embedder.gate.clear()
        asked = asyncio.create_task(meaning.alike(known, "key?", embed))
        await embedder.asked.wait()
        asked.cancel()
        await asyncio.wait((asked,))
        embedder.gate.set()
        assert _themes(known, await meaning.alike(known, "key?", embed))[0] == "key"
        assert sum(len(batch) > 1 for batch in embedder.batches) == len(_THEMES)

    _tell(tmp_path, story)
