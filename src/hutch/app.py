"""The composition root: settings in, everything wired, out comes an App."""

import logging
from dataclasses import dataclass, field
from functools import partial

from hutch import places
from hutch.config import Settings
from hutch.core.backend import Backend
from hutch.metrics.counters import Counters
from hutch.metrics.measured import MeasuredBackend
from hutch.runtime.admission import AdmittingBackend
from hutch.runtime.backend import LocalBackend
from hutch.runtime.hardware import Inventory
from hutch.runtime.keeping import Keeping
from hutch.runtime.ledger import Ledger
from hutch.runtime.meaning import Meaning
from hutch.runtime.scheduler import Scheduler
from hutch.runtime.terms import TermsTable
from hutch.runtime.tuned import Tunings
from hutch.runtime.worker import SocketFolder
from hutch.security import sealing_key
from hutch.security.authn import Authenticator, Keys, Open, Watched, Welcome
from hutch.security.keys import KeyFile
from hutch.store.local import local_store
from hutch.store.store import ModelStore

_log = logging.getLogger(__name__)


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
    ledger: Ledger = field(default_factory=Ledger)


def build(settings: Settings, address: places.Address) -> App:
    """Wire a server that will listen at `address`. To be called inside its event loop."""
    store, sockets = local_store(), SocketFolder()
    try:  # last of what can fail: a key that is made must come to be shown
        authenticator, new_key = _authenticator(settings, address)
    except BaseException:
        sockets.close()
        raise
    inventory, terms, counters, ledger = Inventory(), TermsTable(), Counters(), Ledger()
    scheduler = Scheduler(store, settings, sockets, inventory, terms, listener=counters.heard, ledger=ledger)
    scheduler.keeping = Keeping(places.kept_states(), settings.max_kv_disk, partial(_secret, settings))
    scheduler.tunings = Tunings(places.tuned())
    local = LocalBackend(scheduler, Meaning(store, settings.knowledge_model), settings.load_timeout)
    backend = MeasuredBackend(
        AdmittingBackend(local, ledger, terms), counters, lambda name: terms.of(name).variant or name
    )
    return App(settings, store, backend, authenticator, new_key, inventory, counters, terms, ledger)


def _secret(settings: Settings) -> bytes | None:
    """What states on disk are sealed with."""
    found = sealing_key.find(settings.key_file)
    if settings.key_file is not None and (found.secret is None or found.remark):
        _log.warning("key_file: %s", found.remark or found.told)
    return found.secret


def _authenticator(settings: Settings, address: places.Address) -> tuple[Authenticator, str]:
    """Who is let in, and the first key where that was made just now."""
    if settings.auth == "none":
        return Open(), ""
    file = KeyFile(places.keys_file())
    needs_key = settings.auth == "keys" or not address.is_loopback
    made = file.first() if needs_key else ""
    if needs_key or file.exists():
        file.read()  # a server whose keys cannot be read does not start
    keys = Keys(Watched(file))
    return (keys if needs_key else Welcome(keys)), made
