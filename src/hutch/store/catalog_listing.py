"""The catalog as a table: which models there are, which of them are here, and what suits this machine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple, Self

from hutch.core.errors import BadInput
from hutch.core.hardware import KINDS
from hutch.core.models import StoredModel
from hutch.store import fitting
from hutch.store.cards import FORMATS, SIZES, TYPES, Card, Variant
from hutch.store.wanted import Catalog

CHOICES = {"size": SIZES, "type": TYPES, "format": FORMATS, "device": KINDS}


class Filter(NamedTuple):
    """Which models are meant; "" leaves it open. `prefix` is how one of a model's names begins."""

    prefix: str = ""
    size: str = ""
    type: str = ""
    format: str = ""
    device: str = ""

    @classmethod
    def parse(cls, said: Mapping[str, str]) -> Self:
        """Read it from what a person or a program says. Raises BadInput."""
        found = {name: said[name].strip().lower() for name in cls._fields if said.get(name)}
        for name, value in found.items():
            if name in CHOICES and value not in CHOICES[name]:
                known = ", ".join(CHOICES[name])
                raise BadInput(f"{name} {value[:40]!r} is not known", hint=f"Known are: {known}.", param=name)
        return cls(**found)

    def has(self, variant: Variant) -> bool:
        """Whether a variant is meant."""
        return self.format in ("", variant.format) and (not self.device or self.device in variant.devices)

    def has_card(self, card: Card) -> bool:
        """Whether a model is meant, as far as that is not said of its variants."""
        is_named = any(name.typed.lower().startswith(self.prefix) for name in card.names)
        return is_named and self.size in ("", card.size) and self.type in ("", card.type)


EVERYTHING = Filter()


def told(catalog: Catalog, stored: Sequence[StoredModel], wanted: Filter = EVERYTHING) -> dict[str, Any]:
    """The catalog's table, by name. `stored` are the models that are here."""
    machine = catalog.machine
    listed = [_card(catalog, card, stored, wanted) for card in catalog.cards if wanted.has_card(card)]
    listed = [each for each in listed if each["variants"]]
    if not (wanted.size or wanted.type):  # which of an entry alone are not known
        listed += _entries(catalog, stored, wanted)
    return {
        "models": sorted(listed, key=_order),
        "machine": {
            "memory_bytes": machine.memory_bytes,
            "usable_bytes": machine.usable_bytes,
            "devices": list(machine.kinds),
            "preference": list(machine.preference),
        },
        "notes": list(catalog.notes),
    }


def _order(model: Mapping[str, Any]) -> tuple[str, int, str]:
    """By family, then by size."""
    return model["name"].partition(":")[0], model["num_parameters"] or 0, model["name"]


def _card(catalog: Catalog, card: Card, stored: Sequence[StoredModel], wanted: Filter) -> dict[str, Any]:
    here = [model for model in stored if card.selected(model.name)]
    shown = [each for each in card.variants if wanted.has(each)]
    choice = fitting.choose(card, shown, catalog.machine) if shown else None
    return {
        "name": card.names[0].typed,
        "aliases": [name.typed for name in card.names[1:]],
        "publisher": card.publisher,
        "title": card.title,
        "type": card.type,
        "size": card.size,
        "num_parameters": card.num_parameters,
        "context_length": card.context_length,
        "license": card.license,
        "capabilities": list(card.capabilities),
        "origin": _origin(card),
        "installed": [model.name.typed for model in here],
        "variants": [
            {
                **_variant(catalog, card, each),
                "chosen": choice is not None and each is choice.variant,
                "installed": [model.name.typed for model in here if _is_of(model, card, each)],
            }
            for each in shown
        ],
    }


def _variant(catalog: Catalog, card: Card, variant: Variant) -> dict[str, Any]:
    return {
        "name": next(card.names_of(variant)).typed,
        "tag": variant.tag,
        "format": variant.format,
        "quantization": variant.quantization,
        "devices": list(variant.devices),
        "source": catalog.entries[variant.entry].whence if variant.entry else variant.source,
        "folder": variant.folder,
        "size_bytes": variant.size_bytes,
        "is_size_exact": variant.is_pinned,
        "is_pinned": variant.is_pinned or "@" in variant.source,
        "checked": variant.checked,
        "memory_bytes": card.need_bytes(variant),
        "fits": fitting.fits(card, variant, catalog.machine),
    }


def _is_of(model: StoredModel, card: Card, variant: Variant) -> bool:
    """Whether a stored model is this variant: by its name, or where that says nothing by what is stored."""
    selected = card.selected(model.name)
    if len(selected) == 1:
        return selected[0] is variant
    details = model.details
    return (details.format, details.quantization_level.lower()) == (
        variant.format,
        variant.quantization.lower(),
    )


def _entries(catalog: Catalog, stored: Iterable[StoredModel], wanted: Filter) -> Iterator[dict[str, Any]]:
    """Entries that no card describes: of them little is known."""
    here = [model.name for model in stored]
    for name in catalog.alone:
        entry, is_named = catalog.entries[name], name.typed.lower().startswith(wanted.prefix)
        format_ = "onnx" if entry.kind == "pypi-onnx" else "gguf"
        if not is_named or wanted.format not in ("", format_) or wanted.device == "npu":
            continue
        installed = [each.typed for each in here if each.same_as(name)]
        yield {
            "name": name.typed,
            "aliases": [],
            **dict.fromkeys(("publisher", "title", "type", "size", "num_parameters", "context_length")),
            "license": None,
            "capabilities": [],
            "origin": "entry",
            "installed": installed,
            "variants": [
                {
                    "name": name.typed,
                    "tag": "",
                    "format": format_,
                    "quantization": None,
                    "devices": ["cpu", "gpu"],
                    "source": entry.whence,
                    "folder": "",
                    "size_bytes": entry.size_bytes,
                    "is_size_exact": True,
                    "is_pinned": True,
                    "checked": "no",
                    "memory_bytes": None,
                    "fits": None,
                    "chosen": True,
                    "installed": installed,
                }
            ],
        }


def _origin(card: Card) -> str:
    """Where a card stands: no more than the last part of a path is anybody's business."""
    return card.origin if "://" in card.origin else PurePath(card.origin).name or "hutch"
