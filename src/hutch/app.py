"""The composition root: settings in, everything wired, out comes an App."""

from dataclasses import dataclass

from hutch import places
from hutch.config import Settings
from hutch.core.backend import Backend
from hutch.runtime.backend import LocalBackend
from hutch.runtime.scheduler import Scheduler
from hutch.runtime.worker import SocketFolder
from hutch.security.authn import Authenticator, Open, first_key
from hutch.store import catalog
from hutch.store.store import ModelStore


@dataclass(frozen=True, slots=True)
class App:
    """What a server is made of. `new_key` is the key that was just made, to be shown once."""

    settings: Settings
    store: ModelStore
    backend: Backend
    authenticator: Authenticator
    new_key: str = ""


def local_store() -> ModelStore:
    """The store of this user's models."""
    return ModelStore(places.models(), lambda: catalog.load(places.home() / "catalog.toml"))


def build(settings: Settings, address: places.Address) -> App:
    """Wire a server that will listen at `address`. To be called inside its event loop."""
    authenticator: Authenticator = Open()
    new_key = ""
    if settings.auth == "auto" and not address.is_loopback:
        authenticator, new_key = first_key(places.home() / "keys.json")
    store = local_store()
    scheduler = Scheduler(store, settings, SocketFolder())
    return App(settings, store, LocalBackend(scheduler, settings.load_timeout), authenticator, new_key)
