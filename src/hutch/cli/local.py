"""The store of this machine, for commands that find no server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hutch import places
from hutch.api import ollama_show
from hutch.cli.client import blocks
from hutch.core.errors import NotFound
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.store import catalog
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from hutch.store.sweep import Leftover


def open_store() -> ModelStore:
    """The models in the model folder."""
    return ModelStore(places.models(), lambda: catalog.load(places.home() / "catalog.toml"))


def show(name: str, *, verbose: bool) -> dict[str, Any]:
    """What `/api/show` would tell."""
    return ollama_show.description(open_store().open(ModelName.parse(name)), verbose=verbose)


def copy(source: str, destination: str) -> None:
    """Let a second name stand for a model."""
    open_store().copy(ModelName.parse(source), ModelName.parse(destination))


def delete(name: str) -> None:
    """Remove a name, and what no other name needs."""
    open_store().delete(ModelName.parse(name))


def pull(name: str | None, source: str | None, *, replace: bool, insecure: bool) -> Iterator[dict[str, Any]]:
    """Fetch a model; reports are as the API's."""
    parsed = None if name is None else ModelName.parse(name)
    return map(report, open_store().pull(parsed, source, replace=replace, insecure=insecure))


def import_file(digest: str, file: Path, tell: Callable[[int], None]) -> None:
    """Take a file in as a blob."""
    store = open_store()
    if not store.has_blob(digest):
        store.import_blob(blocks(file, tell), digest)


def create(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Make a model as `/api/create` does; a base that is absent is pulled first."""
    store = open_store()
    base = ModelName.parse(body["from"]) if "from" in body else None
    if base is not None and not is_stored(store, base):
        yield from map(report, store.pull(base))
    recipe = Recipe(
        from_model=base,
        files=tuple(body.get("files", {}).items()),
        template=body.get("template"),
        system=body.get("system"),
        parameters=body.get("parameters", {}),
        messages=tuple(body.get("messages", ())),
        licenses=tuple(body.get("license", ())),
    )
    yield from map(report, store.create(ModelName.parse(body["model"]), recipe))


def is_stored(store: ModelStore, name: ModelName) -> bool:
    """Whether the store has a model of this name."""
    try:
        store.open(name)
    except NotFound:
        return False
    return True


def prune_plan() -> Sequence[Leftover]:
    """What `prune` would remove."""
    return open_store().prune_plan()


def prune() -> Sequence[Leftover]:
    """Remove what no model needs."""
    return open_store().prune()


def report(progress: Progress) -> dict[str, Any]:
    """One line of the API's progress."""
    blob = {"digest": progress.digest, "total": progress.total, "completed": progress.completed}
    return {"status": progress.status, **{name: value for name, value in blob.items() if value is not None}}
