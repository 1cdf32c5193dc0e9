"""Which loaded models make room for another.

Pure: takes what is wanted and what runs, returns a plan. Touches no process and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hutch.core.names import ModelName


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model as placement sees it. `reload_s` is what bringing it back would take."""

    name: ModelName
    memory_bytes: int
    busy: bool
    idle_s: float
    reload_s: float
    is_pinned: bool = False  # never goes, and does not count among those of which there are so many at most


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do: evict these and load; or, with `wait`, try again when a model falls idle; or refuse."""

    evict: tuple[ModelName, ...] = ()
    wait: bool = False
    refuse: str = ""


def place(
    need_bytes: int, residents: Sequence[Resident], free_bytes: int, total_bytes: int, max_models: int
) -> Placement:
    """Decide how a model of `need_bytes` gets in.

    `free_bytes` is free now, `total_bytes` is what the machine could give if nothing were loaded.
    """
    if need_bytes > total_bytes:
        return Placement(
            refuse=f"it needs about {_size(need_bytes)} of memory and this machine has {_size(total_bytes)} to give"
        )
    evict: list[ModelName] = []
    movable = [resident for resident in residents if not resident.is_pinned]
    count = len(movable)
    for resident in sorted((r for r in movable if not r.busy), key=_loss):
        if count < max_models and need_bytes <= free_bytes:
            break
        evict.append(resident.name)
        free_bytes += resident.memory_bytes
        count -= 1
    if count < max_models and need_bytes <= free_bytes:
        return Placement(evict=tuple(evict))
    if any(resident.busy for resident in movable):
        return Placement(wait=True)
    return Placement(
        refuse=f"it needs about {_size(need_bytes)} of memory and only {_size(free_bytes)} is free, "
        f"with every model unloaded{' that is not deployed' if len(movable) < len(residents) else ''}"
    )


def _loss(resident: Resident) -> float:
    """What evicting costs: the time to bring it back, the likelier the shorter it has been idle."""
    return resident.reload_s / (1.0 + resident.idle_s)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes >> 20} MiB"
