"""The room in memory for one more model: what is free, and what loaded models will still take or could give back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hutch.core.backend import WorkerState
from hutch.core.errors import NoRoom
from hutch.core.names import ModelName
from hutch.runtime import machine
from hutch.runtime.loaded import LoadedModel
from hutch.runtime.placement import Resident, place

_RELOAD_BYTES_PER_S = 200e6  # about what a cold load takes; only the order among models matters


def memory_bytes(loaded: Sequence[LoadedModel]) -> tuple[int, int]:
    """Free memory, without what loaded models will still take of what they were given; and all memory."""
    free_bytes, total_bytes = machine.memory_bytes()
    return max(0, free_bytes - sum(map(_still_to_take_bytes, loaded))), total_bytes


def room_bytes(loaded: Sequence[LoadedModel]) -> int:
    """What a model could have, if all went that may go."""
    free_bytes, total_bytes = memory_bytes(loaded)
    given_bytes = sum(each.memory_bytes for each in loaded if not each.terms.is_pinned)
    return min(total_bytes, free_bytes + given_bytes)


def check(name: ModelName, need_bytes: int, loaded: Sequence[LoadedModel], advice: Callable[[], str]) -> None:
    """Raise NoRoom where a model would not fit with all others gone that may go. To be asked before any of them goes."""
    idle = [replace(resident(each), busy=False) for each in loaded]
    plan = place(need_bytes, idle, *memory_bytes(loaded), max_models=len(idle) + 1)
    if plan.refuse:
        raise NoRoom(f"cannot load {name.short}: {plan.refuse}", hint=advice())


def resident(loaded: LoadedModel) -> Resident:
    """A loaded model as placement sees it."""
    size_bytes = loaded.voice.facts.size_bytes
    idle_s = 0.0 if loaded.num_users else time.monotonic() - loaded.idle_since
    return Resident(
        loaded.voice.model.name,
        loaded.memory_bytes,
        loaded.num_users > 0 or loaded.state is WorkerState.STOPPING,
        idle_s,
        size_bytes / _RELOAD_BYTES_PER_S,
        loaded.terms.is_pinned,
    )


def _still_to_take_bytes(loaded: LoadedModel) -> int:
    """What a model was given and does not hold yet."""
    pid = loaded.worker.pid if loaded.worker else None
    held_bytes = machine.held_bytes(pid) if pid else None
    return 0 if held_bytes is None else max(0, loaded.memory_bytes - held_bytes)
