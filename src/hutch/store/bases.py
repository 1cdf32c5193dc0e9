"""The base of a model that is to be made: pulled first where it is absent."""

from collections.abc import Generator

from hutch.core.errors import NotFound
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore


def create_or_pull(store: ModelStore, name: ModelName, wanted: Recipe) -> Generator[Progress, None, None]:
    """Make a model, having its base first. One `success` is told, at the very end."""
    if wanted.from_model is not None and not _is_stored(store, wanted.from_model):
        yield from (step for step in store.pull(wanted.from_model) if step.status != "success")
    yield from store.create(name, wanted)


def _is_stored(store: ModelStore, name: ModelName) -> bool:
    try:
        store.stamp(name)
    except NotFound:
        return False
    return True
