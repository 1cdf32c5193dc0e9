"""A folder becomes a wire: which runner a model needs, and its parts put together."""

import asyncio
from pathlib import Path

import onnxruntime as ort

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx.batch import Batcher
from hutch.engines.onnx.decoder_wire import DecoderWire, Facts
from hutch.engines.onnx.session import Decoder
from hutch.engines.onnx.text import Tokens
from hutch.engines.protocol import LaunchPlan
from hutch.formats import genai_config


async def load(plan: LaunchPlan) -> DecoderWire:
    """Load the model of a plan. Raises HutchError."""
    folder = Path(plan.weights)
    decoder, tokens = await asyncio.to_thread(_open, folder, plan)
    num_tokens = plan.kv_cache_bytes // decoder.token_bytes or plan.num_slots * decoder.num_ctx
    batcher = Batcher(decoder, num_tokens, plan.num_batch)
    engine = {
        "name": "onnxruntime",
        "version": ort.__version__,
        "providers": ["cpu"],
        "fallbacks": [],
    }
    facts = Facts(
        tokens,
        folder / "tokenizer.json",
        plan.num_slots,
        decoder.num_ctx,
        decoder.vocab_size,
        engine,
    )
    return DecoderWire(batcher, facts)


def _open(folder: Path, plan: LaunchPlan) -> tuple[Decoder, Tokens]:
    config = genai_config.read(folder / genai_config.NAME)
    if config.decoder is None or config.other_parts:
        raise BadInput("this model has parts that Hutch's own runner cannot run")
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.num_thread
    try:
        session = ort.InferenceSession(
            str(folder / config.decoder.filename), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise EngineFailed(f"ONNX Runtime cannot load the model: {error}") from error
    num_ctx = min(plan.num_ctx, config.context_length)
    decoder = Decoder(session, config.decoder, plan.num_slots, num_ctx)
    return decoder, Tokens(folder / "tokenizer.json", config.eos_token_ids)
