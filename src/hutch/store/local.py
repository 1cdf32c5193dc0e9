"""The store of this user's models, and the catalog that the settings make. Imports nothing of the server."""

from dataclasses import replace

from hutch import config, places
from hutch.core.names import DEFAULT_HOST
from hutch.hardware import devices, memory
from hutch.store import catalog, catalog_sources
from hutch.store.fitting import Machine
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog, Registry


def local_store() -> ModelStore:
    """The models in the model folder, and the names of the catalog."""
    return ModelStore(places.models(), local_catalog)


def local_catalog() -> Catalog:
    """Every name that is known here without a look elsewhere, for this machine. Raises FormatError or SourceFailed."""
    settings = config.load()
    found = catalog_sources.layers(settings.catalog)
    merged = catalog.load(places.home() / "catalog.toml", found.layers)
    return replace(
        merged,
        registry=mirror(settings.registry),
        machine=this_machine(settings.hardware),
        notes=found.notes,
    )


def mirror(said: str) -> Registry:
    """Who answers for names without a host, as the setting says it."""
    if not said:
        return Registry()
    scheme, _, host = said.rpartition("://")
    return Registry(host or DEFAULT_HOST, is_plain=scheme == "http")


def this_machine(preference: tuple[str, ...]) -> Machine:
    """What counts here for the choice of a variant."""
    there = devices.found()
    return Machine(
        memory_bytes=memory.memory_bytes()[1],
        gpu_memory_bytes=max((each.memory_bytes for each in there if each.kind == "gpu"), default=0),
        kinds=("cpu", *dict.fromkeys(each.kind for each in there)),
        preference=preference,
    )
