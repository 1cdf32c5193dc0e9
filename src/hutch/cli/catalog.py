"""`hutch models list` and `pull`: the models that can be had by name."""

import argparse
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from hutch.cli import columns, http, plain, side
from hutch.store.catalog_listing import Filter, told
from hutch.store.local import local_store

_Told = dict[str, Any]
_HEAD = ("NAME", "ALSO", "TYPE", "FORMATS", "SIZE", "MEMORY", "HERE")
_VARIANTS_HEAD = ("NAME", "FORMAT", "DEVICES", "SIZE", "MEMORY", "SOURCE", "CHECKED", "HERE")


def list_models(args: argparse.Namespace) -> None:
    """Print what the catalog has: a line a model, or a line a variant, or the API's own JSON."""
    said = {name: getattr(args, name) or "" for name in Filter._fields}
    wanted = Filter.parse(said)
    query = urlencode({name: value for name, value in wanted._asdict().items() if value})
    path = f"/api/catalog?{query}" if query else "/api/catalog"
    table: _Told = side.either(lambda: http.ask("GET", path), "hutch.cli.catalog:look", wanted)
    if args.json:
        print(json.dumps(table, indent=2))
        return
    for note in table["notes"]:
        plain.err(note)
    models = table["models"]
    if not models:
        plain.err("no model of the catalog is so; a catalog of your own can add some: docs/catalog.md")
        return
    if args.variants:
        plain.out(columns.table(_VARIANTS_HEAD, [row for model in models for row in _variants(model)]))
    else:
        plain.out(columns.table(_HEAD, [_row(model) for model in models]))
    plain.err(_legend(table))


def look(wanted: Filter) -> _Told:
    """What `/api/catalog` would tell."""
    store = local_store()
    return told(store.catalog(), store.list(), wanted)


def _row(model: _Told) -> tuple[str, ...]:
    chosen = next(each for each in model["variants"] if each["chosen"])
    also = next((name for name in model["aliases"] if "/" in name), "")
    formats = ", ".join(dict.fromkeys(each["format"] for each in model["variants"]))
    here = "yes" if model["installed"] else ""
    return model["name"], also, model["type"] or "", formats, _size(chosen), _memory(chosen), here


def _variants(model: _Told) -> Iterator[tuple[str, ...]]:
    for each in model["variants"]:
        devices = ", ".join(each["devices"])
        here = ", ".join(each["installed"])
        yield (
            each["name"],
            each["format"],
            devices,
            _size(each),
            _memory(each),
            each["source"],
            each["checked"],
            here,
        )


def _size(variant: _Told) -> str:
    size = columns.human_size(variant["size_bytes"]) if variant["size_bytes"] else ""
    return size if variant["is_size_exact"] or not size else f"~{size}"


def _memory(variant: _Told) -> str:
    if variant["memory_bytes"] is None:
        return ""
    return f"~{columns.human_size(variant['memory_bytes'])}" + ("" if variant["fits"] else " !")


def _legend(table: _Told) -> str:
    usable = columns.human_size(table["machine"]["usable_bytes"])
    is_too_much = any(each["fits"] is False for model in table["models"] for each in model["variants"])
    more = f"; ! is more than the {usable} that this machine has for it" if is_too_much else ""
    return f"~ is approximate{more}. Fetch one with 'hutch models pull NAME'."
