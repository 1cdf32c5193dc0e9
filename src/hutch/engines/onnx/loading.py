"""A folder becomes a wire: which runner a model needs, and its parts put together."""

import asyncio
from pathlib import Path

import onnxruntime as ort

from hutch.engines.onnx import runner
from hutch.engines.onnx.batch import Batcher
from hutch.engines.onnx.decoder_wire import DecoderWire, Facts
from hutch.engines.onnx.text import Tokens
from hutch.engines.protocol import LaunchPlan
from hutch.formats import genai_config


async def load(plan: LaunchPlan) -> DecoderWire:
    """Load the model of a plan. Raises HutchError."""
    folder = Path(plan.weights)
    opened, tokens = await asyncio.to_thread(_open, folder, plan)
    decoder = opened.decoder
    num_tokens = plan.kv_cache_bytes // decoder.token_bytes or plan.num_slots * decoder.num_ctx
    batcher = Batcher(decoder, num_tokens, plan.num_batch)
    facts = Facts(
        tokens,
        folder / "tokenizer.json",
        plan.num_slots,
        decoder.num_ctx,
        decoder.vocab_size,
        opened.report,
    )
    return DecoderWire(batcher, facts)


def _open(folder: Path, plan: LaunchPlan) -> tuple[runner.Opened, Tokens]:
    config = genai_config.read(folder / genai_config.NAME)
    num_ctx = min(plan.num_ctx, config.context_length)
    wanted = runner.Wanted(
        *(folder, config, max(2, plan.num_slots), num_ctx, plan.num_thread),
        runner=plan.runner or runner.OURS,
        providers=plan.providers,
    )

    def options() -> ort.SessionOptions:
        made = ort.SessionOptions()
        made.intra_op_num_threads = plan.num_thread
        return made

    opened = runner.open_decoder(wanted, options)
    return opened, Tokens(folder / "tokenizer.json", config.eos_token_ids)
