"""The composition root: settings in, everything wired, out comes an App."""

from dataclasses import dataclass, field

from hutch import places
from hutch.config import Settings
from hutch.core.backend import Backend
from hutch.metrics.counters import Counters
from hutch.metrics.measured import MeasuredBackend
from hutch.runtime.backend import LocalBackend
from hutch.runtime.hardware import Inventory
from hutch.runtime.meaning import Meaning
from hutch.runtime.scheduler import Scheduler
from hutch.runtime.terms import TermsTable
from hutch.runtime.worker import SocketFolder
from hutch.security.authn import Authenticator, Open, first_key
from hutch.store.local import local_store
from hutch.store.store import ModelStore


@dataclass(frozen=True, slots=True)
class App:
    """What a server is made of. `new_key` is the key that was just made, to be shown once."""

    settings: Settings
    store: ModelStore
    backend: Backend
    authenticator: Authenticator
    new_key: str = ""
    inventory: Inventory = field(default_factory=Inventory)
    counters: Counters = field(default_factory=Counters)
    terms: TermsTable = field(default_factory=TermsTable)


def build(settings: Settings, address: places.Address) -> App:
    """Wire a server that will listen at `address`. To be called inside its event loop."""
    store, sockets = local_store(), SocketFolder()
    authenticator: Authenticator = Open()
    new_key = ""
    if settings.auth == "auto" and not address.is_loopback:
        try:  # last of what can fail: a key that is made must come to be shown
            authenticator, new_key = first_key(places.home() / "keys.json")
        except BaseException:
            sockets.close()
            raise
    inventory, terms, counters = Inventory(), TermsTable(), Counters()
    scheduler = Scheduler(store, settings, sockets, inventory, terms, listener=counters.heard)
    local = LocalBackend(scheduler, Meaning(store, settings.knowledge_model), settings.load_timeout)
    backend = MeasuredBackend(local, counters)
    return App(settings, store, backend, authenticator, new_key, inventory, counters, terms)
