"""A launch plan becomes a wire: how much memory its contexts may take."""

import asyncio
from pathlib import Path

import pytest

from hutch.core.errors import NoRoom
from hutch.engines.onnx import loading
from hutch.engines.protocol import Endpoint, LaunchPlan
from tests.onnx_files import write_llama

NUM_CTX = 64
TOKEN_BYTES = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, their width, float32


async def _opened(folder: Path, kv_cache_bytes: int) -> None:
    plan = LaunchPlan(
        weights=str(folder),
        endpoint=Endpoint(),
        num_ctx=NUM_CTX,
        num_slots=2,
        num_batch=64,
        num_ubatch=64,
        num_thread=1,
        kv_cache_bytes=kv_cache_bytes,
    )
    wire = await loading.load(plan)
    wire.close()


def test_a_bound_that_holds_one_context_is_kept_and_a_smaller_one_is_refused(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "llama")
    for enough in (0, NUM_CTX * TOKEN_BYTES):
        asyncio.run(_opened(folder, enough))
    for too_small in (1, NUM_CTX * TOKEN_BYTES - 1):
        with pytest.raises(NoRoom, match=r"max_kv_cache is .* num_ctx is 64"):
            asyncio.run(_opened(folder, too_small))
