"""Hutch: a small private house for small language models. `Client` and `AsyncClient` ask a server of it."""

import importlib

TYPE_CHECKING = False  # typing has it too, and takes milliseconds to import
if TYPE_CHECKING:  # at run time found by name, so that the command line does not pay for them
    from hutch.core.errors import HutchError as HutchError
    from hutch.sdk.async_client import AsyncClient as AsyncClient
    from hutch.sdk.client import Client as Client
    from hutch.sdk.retries import Retries as Retries

__version__ = "0.1.0"

# The version of Ollama whose API and commands these are: clients compare it.
OLLAMA_VERSION = "0.33.0"

_LAZY = {
    "AsyncClient": "hutch.sdk.async_client",
    "Client": "hutch.sdk.client",
    "HutchError": "hutch.core.errors",
    "Retries": "hutch.sdk.retries",
}


def __getattr__(name: str) -> object:
    """Import a name of the public interface when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """All public names, those that were not asked for yet among them."""
    return sorted({*globals(), *_LAZY})
