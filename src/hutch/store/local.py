"""The store of this user's models. Imports nothing of the server."""

from hutch import places
from hutch.store import catalog
from hutch.store.store import ModelStore


def local_store() -> ModelStore:
    """The models in the model folder, and the names of the catalog."""
    return ModelStore(places.models(), lambda: catalog.load(places.home() / "catalog.toml"))
