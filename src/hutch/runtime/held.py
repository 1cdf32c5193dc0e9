"""How full the key-value caches of loaded models are."""

import asyncio
from collections.abc import Mapping, Sequence

from hutch.core.backend import WorkerState
from hutch.core.errors import EngineFailed
from hutch.core.names import ModelName
from hutch.runtime.loaded import LoadedModel

_WITHIN_S = 1.0  # a worker in a long step answers after it


async def held_tokens(models: Sequence[LoadedModel]) -> Mapping[ModelName, int]:
    """The tokens in each model's cache. A model whose worker does not answer in time is left out."""
    counts = await asyncio.gather(*map(_held, models))
    pairs = zip(models, counts, strict=True)
    return {model.voice.model.name: count for model, count in pairs if count is not None}


async def _held(model: LoadedModel) -> int | None:
    if model.state is not WorkerState.READY or model.worker is None:
        return None
    if model.voice.facts.is_encoder:
        return 0  # it keeps nothing
    try:
        slots = await model.worker.client.get("/slots", _WITHIN_S)
    except EngineFailed:
        return None
    return sum(int(slot.get("n_prompt_tokens", 0)) for slot in slots)
