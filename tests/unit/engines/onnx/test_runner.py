"""Providers tried in order, and GenAI behind the batch: on a real ONNX Runtime, with graphs of a few operators."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from hutch.core.errors import BadInput, EngineFailed, NotBuilt
from hutch.core.hardware import BY_SHORT_NAME
from hutch.engines.onnx import agreement, genai, providers, runner
from hutch.engines.onnx.genai import GenAIDecoder, Size
from hutch.engines.onnx.providers import ProviderFailed, open_session
from hutch.engines.onnx.sampling import Floats
from hutch.formats import genai_config
from tests import plain_decoder

SIZE = Size(2, 64, plain_decoder.VOCAB_SIZE, 64)
PROMPT = [3, 14, 15, 9, 26, 5, 35]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return plain_decoder.write(tmp_path / "model")


def wanted(folder: Path, runner_name: str = runner.OURS, *plan: str) -> runner.Wanted:
    config = genai_config.read(folder / genai_config.NAME)
    return runner.Wanted(folder, config, SIZE.num_rows, SIZE.num_ctx, 1, runner_name, plan)


def greedy(decoder: runner.Session, row: int, prompt: list[int], start: int = 0) -> list[int]:
    logits = decoder.prefill(row, prompt[start:], start)
    said: list[int] = []
    for index in range(6):
        assert logits is not None
        said.append(int(logits.argmax()))
        logits = decoder.decode(row, said[-1:], [len(prompt) + index])[0]
    return said


def test_an_empty_plan_is_the_cpu(folder: Path) -> None:
    opened = open_session(folder / "model.onnx", (), ort.SessionOptions)
    assert (opened.provider, opened.fallbacks) == ("cpu", ())


def test_what_does_not_load_is_stepped_down_from_with_its_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "onnxruntime_ep_webgpu"
    plugin.mkdir()
    (plugin / "broken.so").write_bytes(b"this is no library")
    (plugin / "__init__.py").write_text(
        f"def get_library_path():\n    return {str(plugin / 'broken.so')!r}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        opened = open_session(
            folder / "model.onnx", ("cuda:gpu", "webgpu:gpu", "coreml:npu", "cpu"), ort.SessionOptions
        )
    finally:
        sys.modules.pop("onnxruntime_ep_webgpu", None)
    assert opened.provider == "cpu"
    reasons = dict(opened.fallbacks)
    assert list(reasons) == ["cuda:gpu", "webgpu:gpu", "coreml:npu"]
    assert "onnxruntime-gpu has it" in reasons["cuda:gpu"]
    assert "broken.so" in reasons["webgpu:gpu"]
    assert "not in this build" in reasons["coreml:npu"]


def test_a_check_may_refuse_a_provider(folder: Path) -> None:
    def refuse(_session: ort.InferenceSession, item: str) -> None:
        raise ProviderFailed(f"{item} was refused")

    with pytest.raises(EngineFailed, match="cpu: cpu was refused") as raised:
        open_session(folder / "model.onnx", ("cpu",), ort.SessionOptions, refuse)
    assert "hutch hardware" in raised.value.hint


def test_a_plan_of_which_nothing_works_tells_every_reason(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineFailed, match=r"migraphx:gpu: not in this build.*cpu: .*bad\.onnx"):
        open_session(tmp_path / "bad.onnx", ("migraphx:gpu", "cpu"), ort.SessionOptions)


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_ep_openvino") is None, reason="OpenVINO's plugin is not installed"
)
def test_openvinos_plugin_is_used_or_says_why_not(folder: Path) -> None:
    offer = providers.offer("openvino")
    assert offer.version
    assert bool(offer.devices) is not bool(offer.problem)
    opened = open_session(folder / "model.onnx", ("openvino:cpu", "cpu"), ort.SessionOptions)
    if any(device.kind == "cpu" for device in offer.devices):
        assert opened.provider == "openvino:cpu"
    else:
        assert opened.fallbacks[0].reason == "it sees no CPU here that it can use"


def test_every_provider_can_be_asked_what_it_offers() -> None:
    for short in BY_SHORT_NAME:
        offer = providers.offer(short)
        assert bool(offer.devices) is not bool(offer.problem), offer


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[ONNXRuntimeError] : 11 : EP_FAIL : it broke", "it broke"),
        (
            "[ONNXRuntimeError] : 11 : EP_FAIL : Exception from a.cpp:1:\nException from b.cpp:2:\nno NPU\n",
            "no NPU",
        ),
        ("plain", "plain"),
        ("", "RuntimeError"),
    ],
)
def test_a_reason_is_one_line(text: str, reason: str) -> None:
    assert providers.reason_of(RuntimeError(text)) == reason


def test_answers_that_differ_from_the_cpus_are_found() -> None:
    table = (np.random.default_rng(1).normal(size=(64, 64)) * 3).astype(np.float32)

    def right(ids: Sequence[int]) -> Floats:
        row: Floats = table[ids[-1]]
        return row

    def shifted(ids: Sequence[int]) -> Floats:  # a constant changes no probability
        return right(ids) + np.float32(5)

    def wrong(ids: Sequence[int]) -> Floats:
        return right(ids)[::-1]

    def broken(ids: Sequence[int]) -> Floats:
        return right(ids) * np.float32("nan")

    agreement.check(right, right, 64)
    agreement.check(shifted, right, 64)
    for candidate in (wrong, broken):
        with pytest.raises(ProviderFailed, match="nats"):
            agreement.check(candidate, right, 64)


def test_a_graph_that_ours_does_not_run_goes_to_genai_and_says_so(folder: Path) -> None:
    opened = runner.open_decoder(wanted(folder), ort.SessionOptions)
    assert opened.report["name"] == "onnxruntime-genai"
    assert opened.report["version"]
    assert opened.report["providers"] == ["cpu"]
    [fallback] = opened.report["fallbacks"]
    assert fallback["provider"] == "onnxruntime"
    assert len(greedy(opened.decoder, 0, PROMPT)) == 6


def test_genai_steps_down_too(folder: Path) -> None:
    opened = runner.open_decoder(
        wanted(folder, runner.GENAI, "coreml:npu", "qnn:npu", "cpu"), ort.SessionOptions
    )
    assert [fallback.wanted for fallback in opened.fallbacks] == ["coreml:npu", "qnn:npu"]
    assert opened.provider == "cpu"
    with pytest.raises(EngineFailed, match="qnn:npu: "):
        runner.open_decoder(wanted(folder, runner.GENAI, "qnn:npu"), ort.SessionOptions)


def test_genai_rows_are_apart_and_can_be_taken_back_moved_and_freed(folder: Path) -> None:
    decoder = GenAIDecoder(genai.open_model(folder, (), 1, SIZE).model, SIZE)
    alone = greedy(decoder, 0, PROMPT)
    other = greedy(decoder, 1, PROMPT[::-1])
    assert greedy(decoder, 0, PROMPT, start=4) == alone  # the prefix is reused
    decoder.swap(0, 1, 64)
    assert greedy(decoder, 1, PROMPT, start=5) == alone
    assert greedy(decoder, 0, PROMPT[::-1], start=5) == other
    decoder.decode(0, [-1, 5], [len(PROMPT), len(PROMPT)])  # only the second row is computed
    again = decoder.prefill(0, PROMPT[::-1][5:], 5)
    assert again is not None
    assert int(again.argmax()) == other[0]
    decoder.free(0)
    assert greedy(decoder, 0, PROMPT) == alone
    assert decoder.prefill(0, PROMPT, 0, want_logits=False) is None
    chunked = decoder.prefill(1, PROMPT[:3], 0), decoder.prefill(1, PROMPT[3:], 3)
    assert int(chunked[1].argmax()) == alone[0]  # type: ignore[union-attr]


def test_genai_tells_a_step_that_failed_and_goes_on(folder: Path) -> None:
    decoder = GenAIDecoder(genai.open_model(folder, (), 1, SIZE).model, SIZE)
    with pytest.raises(EngineFailed, match="GenAI"):
        decoder.prefill(0, [5] * 65, 0)  # more than the context
    with pytest.raises(EngineFailed, match="holds 0 tokens, not 3"):
        decoder.decode(1, [5], [3])
    assert len(greedy(decoder, 0, PROMPT)) == 6


def test_without_genai_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_genai", None)
    with pytest.raises(NotBuilt, match="GenAI") as raised:
        runner.open_decoder(wanted(folder, runner.GENAI), ort.SessionOptions)
    assert "hutch[genai]" in raised.value.hint
    with pytest.raises(NotBuilt, match=r"own runner cannot run the model: .*; and .*GenAI"):
        runner.open_decoder(wanted(folder), ort.SessionOptions)


def test_ours_refuses_it_by_itself(folder: Path) -> None:
    session = open_session(folder / "model.onnx", (), ort.SessionOptions).session
    with pytest.raises(BadInput):
        runner._decoder(session, "cpu", wanted(folder))
    with pytest.raises(ProviderFailed):
        runner._decoder(session, "openvino:cpu", wanted(folder))
