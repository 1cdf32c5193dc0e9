"""Which variant of a model suits a machine, and why. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from hutch.core.hardware import BY_SHORT_NAME, split_item
from hutch.store.cards import Card, Variant
from hutch.store.room import readable

_USABLE = 0.9  # the system needs some itself


class Machine(NamedTuple):
    """What counts of a machine: its memory, the largest GPU's (0: none, or not known), its devices, and what it prefers."""

    memory_bytes: int = 1 << 62
    gpu_memory_bytes: int = 0
    kinds: tuple[str, ...] = ("cpu",)
    preference: tuple[str, ...] = ()

    @property
    def usable_bytes(self) -> int:
        """The memory that one model may take, on the host or on a GPU."""
        return int(max(self.memory_bytes, self.gpu_memory_bytes) * _USABLE)


class Choice(NamedTuple):
    """A variant, the reason for it, and what is to be said against it."""

    variant: Variant
    reason: str
    warning: str = ""


def fits(card: Card, variant: Variant, machine: Machine) -> bool:
    """Whether the machine has the memory."""
    return card.need_bytes(variant) <= machine.usable_bytes


def choose(card: Card, variants: Sequence[Variant], machine: Machine) -> Choice:
    """The best of one or several variants: what fits in memory, then what the preferred device runs, then the card's order."""
    order = {variant: place for place, variant in enumerate(variants)}
    best = min(
        variants,
        key=lambda each: (not fits(card, each, machine), _device_rank(each, machine), order[each]),
    )
    if not fits(card, best, machine):
        best = min(variants, key=card.need_bytes)
    return Choice(best, _reason(card, variants, best, machine), _warning(card, best, machine))


def _device_rank(variant: Variant, machine: Machine) -> int:
    """The place of the first preferred device that the machine has and the variant runs on."""
    ranked = [_kinds(item) for item in machine.preference] or [("cpu",)]
    for place, kinds in enumerate(ranked):
        if any(kind in variant.devices and kind in machine.kinds for kind in kinds):
            return place
    return len(ranked)


def _kinds(item: str) -> tuple[str, ...]:
    provider, kind = split_item(item)
    return (kind,) if kind else BY_SHORT_NAME[provider].kinds


def _reason(card: Card, variants: Sequence[Variant], best: Variant, machine: Machine) -> str:
    first = variants[0]
    if len(variants) == 1:
        return "the variant that was named" if len(card.variants) > 1 else "the only variant"
    if best == first:
        return "the usual variant"
    if not fits(card, best, machine):
        return "the variant that takes the least memory"
    if _device_rank(best, machine) < _device_rank(first, machine):
        return f"the first for hardware {','.join(machine.preference) or 'cpu'}"
    return f"the first that fits in memory ({first.tag} needs {readable(card.need_bytes(first))})"


def _warning(card: Card, best: Variant, machine: Machine) -> str:
    if fits(card, best, machine):
        return ""
    need, has = readable(card.need_bytes(best)), readable(machine.usable_bytes)
    return f"it needs about {need} of memory, and this machine has {has} for it: it will hardly load"
