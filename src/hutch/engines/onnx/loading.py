"""A folder becomes a wire: which runner a model needs, and its parts put together."""

import asyncio
from pathlib import Path

import onnxruntime as ort

from hutch.core.errors import NoRoom
from hutch.engines.onnx import encoder_model, runner
from hutch.engines.onnx.aids import Facts
from hutch.engines.onnx.batch import Batcher
from hutch.engines.onnx.decoder_wire import DecoderWire
from hutch.engines.onnx.encoder import Encoder
from hutch.engines.onnx.encoder_wire import EncoderWire
from hutch.engines.onnx.text import Tokens
from hutch.engines.protocol import LaunchPlan
from hutch.formats import genai_config, tokenizer_files


async def load(plan: LaunchPlan) -> DecoderWire | EncoderWire:
    """Load the model of a plan. Raises HutchError."""
    if plan.is_bert or not (Path(plan.weights) / genai_config.NAME).is_file():
        return await asyncio.to_thread(_open_encoder, plan)
    decoder, facts = await asyncio.to_thread(_open, Path(plan.weights), plan)
    return DecoderWire(Batcher(decoder, _num_tokens(plan, decoder), plan.num_batch), facts)


def _num_tokens(plan: LaunchPlan, decoder: runner.Session) -> int:
    """How many tokens the cache may hold. Raises NoRoom where a request could never have the whole context."""
    if not plan.kv_cache_bytes:
        return plan.num_slots * decoder.num_ctx
    num_tokens = plan.kv_cache_bytes // decoder.token_bytes
    if num_tokens < decoder.num_ctx:
        raise NoRoom(
            f"max_kv_cache is {plan.kv_cache_bytes:,} bytes, which hold {num_tokens:,} tokens, and num_ctx is {decoder.num_ctx:,}",
            hint=f"Set max_kv_cache to {decoder.num_ctx * decoder.token_bytes:,} bytes or more, or num_ctx lower.",
        )
    return num_tokens


def _open_encoder(plan: LaunchPlan) -> EncoderWire:
    model = (encoder_model.of_gguf if plan.is_bert else encoder_model.of_folder)(Path(plan.weights))
    return EncoderWire(Encoder(model, plan.num_thread, plan.providers), model.tokenizer, plan.num_ctx)


def _open(folder: Path, plan: LaunchPlan) -> tuple[runner.Session, Facts]:
    config = genai_config.read(folder / genai_config.NAME)
    num_ctx = min(plan.num_ctx, config.context_length)
    wanted = runner.Wanted(
        *(folder, config, max(2, plan.num_slots), num_ctx, plan.num_thread),  # a step may need a row more
        runner=plan.runner or runner.OURS,
        providers=plan.providers,
    )

    def options() -> ort.SessionOptions:
        made = ort.SessionOptions()
        made.intra_op_num_threads = plan.num_thread
        # Between two runs the threads leave the cores to those who wait for the tokens. Within a run they spin, but not for long: beside
        # two busy processes decode keeps 0.45 to 0.5 of its rate so, and 0.34 without the bound; on a quiet machine it is 1.05 to 1.1 times as fast.
        made.add_session_config_entry("session.force_spinning_stop", "1")
        made.add_session_config_entry("session.intra_op.spin_duration_us", "100")
        return made

    opened = runner.open_decoder(wanted, options)
    files = {path.name: path for path in folder.iterdir()}
    tokens = Tokens(files[tokenizer_files.NAME], config.eos_token_ids)
    named = {"bos_token": config.bos_token_id, "eos_token": next(iter(config.eos_token_ids), None)}
    facts = Facts(
        name=folder.name,
        tokens=tokens,
        template=tokenizer_files.read(files).chat_template,
        template_tokens={
            name: tokens.bytes_of(token).decode() for name, token in named.items() if token is not None
        },
        num_slots=plan.num_slots,
        num_ctx=opened.decoder.num_ctx,
        vocab_size=opened.decoder.vocab_size,
        engine=opened.report,
        state_folder=plan.state_folder,
    )
    return opened.decoder, facts
