"""pip's own settings: where it looks for packages and how it gets there. pip itself is not needed.

Read as pip documents it: files for everybody, for the user, of the environment, then PIP_CONFIG_FILE; in them
[global], then [download]; then PIP_* variables. A later value takes the place of an earlier one.
"""

import configparser
import locale
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hutch.core.errors import BadInput

_SECTIONS = ("global", "download")
_TRUE = frozenset(("y", "yes", "t", "true", "on", "1"))
_FALSE = frozenset(("n", "no", "f", "false", "off", "0"))


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What of pip's settings matters for finding and fetching a file. An empty `index_url` means pip's default."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    proxy: str = ""
    cert: str = ""
    client_cert: str = ""
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = 15.0
    retries: int = 5


def read(environment: Mapping[str, str]) -> PipSettings:
    """Read the files, and over them the PIP_* variables. Raises BadInput that names the culprit."""
    values: dict[tuple[str, str], str] = {}
    for path in config_files(environment):
        values |= _file(path)
    chosen: dict[str, str] = {}
    for section in _SECTIONS:
        chosen |= {key: value for (of, key), value in values.items() if of == section and value}
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            chosen[_key(name.removeprefix("PIP_"))] = value
    return _settings(chosen)


def config_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where pip's configuration may lie, the weightiest last."""
    named = environment.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    yield from _global_files(environment)
    if not (named and Path(named).exists()):
        yield from _user_files(environment)
    prefixes = dict.fromkeys((sys.prefix, environment.get("VIRTUAL_ENV") or sys.prefix))
    yield from (Path(prefix, _file_name()) for prefix in prefixes)
    if named:
        yield Path(named)


def _global_files(environment: Mapping[str, str]) -> Iterator[Path]:
    if sys.platform == "win32":
        yield Path(environment.get("PROGRAMDATA") or r"C:\ProgramData", "pip", _file_name())
    elif sys.platform == "darwin":
        yield Path("/Library/Application Support/pip", _file_name())
    else:
        for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep):
            yield Path(folder, "pip", _file_name())
        yield Path("/etc", _file_name())


def _user_files(environment: Mapping[str, str]) -> Iterator[Path]:
    home = Path.home()
    if sys.platform == "win32":
        yield home / "pip" / _file_name()
        yield Path(environment.get("APPDATA") or home / "AppData" / "Roaming", "pip", _file_name())
        return
    yield home / ".pip" / _file_name()
    on_mac = home / "Library" / "Application Support" / "pip"
    if sys.platform == "darwin" and on_mac.is_dir():
        yield on_mac / _file_name()
    else:
        yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", _file_name())


def _file_name() -> str:
    return "pip.ini" if sys.platform == "win32" else "pip.conf"


def _file(path: Path) -> dict[tuple[str, str], str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding=locale.getpreferredencoding(do_setlocale=False))
    except (configparser.Error, UnicodeDecodeError, OSError) as problem:
        raise BadInput(
            f"pip's settings in {path}: {problem}", hint="`pip config debug` shows them."
        ) from problem
    return {
        (section, _key(key)): value for section in parser.sections() for key, value in parser.items(section)
    }


def _key(name: str) -> str:
    key = name.lower().replace("_", "-").removeprefix("--")
    return {"default-timeout": "timeout", "pypi-url": "index-url"}.get(key, key)


def _settings(chosen: Mapping[str, str]) -> PipSettings:
    return PipSettings(
        index_url=chosen.get("index-url", ""),
        extra_index_urls=tuple(chosen.get("extra-index-url", "").split()),
        find_links=tuple(chosen.get("find-links", "").split()),
        no_index=_truth("no-index", chosen.get("no-index", "no")),
        proxy=chosen.get("proxy", ""),
        cert=chosen.get("cert", ""),
        client_cert=chosen.get("client-cert", ""),
        trusted_hosts=tuple(chosen.get("trusted-host", "").split()),
        timeout_s=_number("timeout", chosen.get("timeout", "15")),
        retries=int(_number("retries", chosen.get("retries", "5"))),
    )


def _truth(key: str, text: str) -> bool:
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise BadInput(f"pip's setting {key} = {text!r} is neither true nor false")


def _number(key: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 86400:
        raise BadInput(f"pip's setting {key} = {text!r} is not a number")
    return number
