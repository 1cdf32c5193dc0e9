"""What a command is: its words, and the function that does it."""

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple


class Argument(NamedTuple):
    """One positional or flag, as argparse takes it."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def is_flag(self) -> bool:
        """Whether it starts with a dash."""
        return self.names[0].startswith("-")

    @property
    def is_hidden(self) -> bool:
        """Whether help keeps silent about it."""
        return self.settings.get("help") == argparse.SUPPRESS


class Command(NamedTuple):
    """One command. `run` names the function that does it, so that nothing is imported to list it."""

    name: str
    run: str
    help: str
    arguments: tuple[Argument, ...] = ()
    aliases: tuple[str, ...] = ()
    parts: tuple["Command", ...] = ()  # commands of its own, such as `models list`


def arg(*names: str, **settings: Any) -> Argument:
    """A positional or a flag."""
    return Argument(names, settings)


def flag(*names: str, help: str) -> Argument:  # noqa: A002  # argparse's own name
    """A flag without a value."""
    return Argument(names, {"action": "store_true", "help": help})


MODEL = arg("model", metavar="MODEL", help="name of a model")
PREFIX = arg("prefix", metavar="PREFIX", nargs="?", default="", help="only models whose names start so")
JSON = flag("--json", help="print the API's own JSON")
INSECURE = flag("--insecure", help="allow a registry without TLS")
