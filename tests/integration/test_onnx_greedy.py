"""Greedy answers are ONNX Runtime GenAI's, token for token: alone, in company, and read in chunks."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime as ort
import onnxruntime_genai as genai
import pytest

from hutch.engines.onnx import runner
from hutch.engines.onnx.session import Decoder
from hutch.formats import genai_config
from tests import onnx_files, onnx_variants
from tests.unit.engines.onnx.batching import batch

SHAPE = onnx_files.Shape(layers=3, heads=6, kv_heads=2, context=256)
NUM_NEW = 40


@pytest.fixture(scope="module", params=["pruned", "unpruned"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four bits."""
    made = onnx_files.write_llama(tmp_path_factory.mktemp("model"), SHAPE, external=False)
    model = onnx_variants.int4(onnx_variants.fused(onnx_files.llama(SHAPE)))
    onnx.save(
        onnx_variants.unpruned(model) if request.param == "unpruned" else model, str(made / "model.onnx")
    )
    return made


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Texts of many lengths."""
    draw = np.random.default_rng(5)
    return [draw.integers(3, SHAPE.vocab, length).tolist() for length in (1, 2, 5, 17, 33, 64, 120, 200)]


def theirs(folder: Path, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """What GenAI says."""
    model = genai.Model(str(folder))
    said = []
    for prompt in prompts:
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=len(prompt) + NUM_NEW, do_sample=False)
        generator = genai.Generator(model, params)
        generator.append_tokens(np.array(prompt, np.int32))
        tokens: list[int] = []
        while not generator.is_done() and len(tokens) < NUM_NEW:
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        said.append(tokens)
    return said


def test_greedy_answers_with_guesses_are_those_of_genai(folder: Path, prompts: list[list[int]]) -> None:
    config = genai_config.read(folder / genai_config.NAME)
    wanted = runner.Wanted(folder, config, 2, 256, 2, num_guessed=8)
    opened = runner.open_decoder(wanted, ort.SessionOptions)
    assert opened.decoder.num_together == 9
    assert not opened.report["reproducible"]
    said = theirs(folder, [prompt * 3 for prompt in prompts[:6]])

    async def scenario() -> None:
        num_true = 0
        async with batch(opened.decoder, vocab_size=SHAPE.vocab, eos=config.eos_token_ids) as asker:
            for prompt, expected in zip(prompts, said, strict=False):
                told = asker.ask(prompt * 3, NUM_NEW, slot=0)
                await told.done.wait()
                assert told.tokens == expected
                num_true += told.end.timings.num_true
        assert num_true > 5

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("max_chunk", [16, 512])
def test_greedy_answers_are_those_of_genai(folder: Path, prompts: list[list[int]], max_chunk: int) -> None:
    config = genai_config.read(folder / genai_config.NAME)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    decoder = Decoder(session, cast("genai_config.Decoder", config.decoder), 8, 256)
    wanted = theirs(folder, prompts)

    async def scenario() -> None:
        async with batch(
            decoder, max_chunk=max_chunk, vocab_size=SHAPE.vocab, eos=config.eos_token_ids
        ) as asker:
            alone = []
            for prompt in prompts[:3]:
                told = asker.ask(prompt, NUM_NEW, slot=0)
                await told.done.wait()
                alone.append(told.tokens)
            together = [asker.ask(prompt, NUM_NEW, slot=slot) for slot, prompt in enumerate(prompts)]
            await asyncio.gather(*(each.done.wait() for each in together))
            assert alone == wanted[:3]
            assert [each.tokens for each in together] == wanted

    asyncio.run(asyncio.wait_for(scenario(), 60))
