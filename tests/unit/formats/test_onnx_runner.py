"""Which runner a folder of ONNX gets, and what it is told that it lacks."""

from dataclasses import dataclass, field, replace
from types import MappingProxyType

import pytest

from hutch.formats.onnx import ONNX, Operator, Value
from hutch.formats.onnx_runner import problem, runner_for

NAMES = MappingProxyType(
    {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"}
)
CACHE = ("past_key_values.0.key", "past_key_values.0.value")


@dataclass(frozen=True)
class Decoder:
    filename: str = "model.onnx"
    names: MappingProxyType[str, str] = field(default_factory=lambda: NAMES)


@dataclass(frozen=True)
class Config:
    decoder: Decoder | None = field(default_factory=Decoder)
    other_parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folder:
    own_runner_problem: str = ""
    is_encoder: bool = False


def graph(*inputs: str, cache_type: str = "float32", attention: str = "GroupQueryAttention") -> ONNX:
    values = {name: Value(name, "int64", ("b", "s")) for name in inputs}
    values |= {name: Value(name, cache_type, ("b", 1, "p", 8)) for name in inputs if name in CACHE}
    return ONNX(
        ir_version=10,
        opsets={},
        inputs=values,
        outputs={},
        tensors=(),
        operators=(Operator(attention, "com.microsoft", (), {}),),
        size_bytes=0,
    )


@pytest.mark.parametrize(
    ("config", "made", "expected"),
    [
        (Config(), graph("input_ids", "attention_mask", *CACHE), ""),
        (Config(), graph("input_ids", "position_ids", *CACHE, cache_type="float16"), ""),
        (Config(other_parts=("vision", "embedding")), graph("input_ids", *CACHE), "vision, embedding"),
        (Config(decoder=None), graph("input_ids", *CACHE), "several graphs"),
        (Config(decoder=Decoder(filename="")), graph("input_ids", *CACHE), "several graphs"),
        (Config(), graph("input_ids", "past.0.conv", *CACHE), "another kind: past.0.conv"),
        (Config(), graph("input_ids"), "no key-value cache"),
        (Config(), graph("input_ids", *CACHE, cache_type="int8"), "of type int8"),
        (Config(), graph("input_ids", *CACHE, attention="MultiHeadAttention"), "no GroupQueryAttention"),
    ],
)
def test_a_folder_says_what_our_own_runner_cannot_do_with_it(
    config: Config, made: ONNX, expected: str
) -> None:
    found = problem(config, {"model.onnx": made})
    assert expected in found
    assert bool(expected) is bool(found)


@pytest.mark.parametrize(
    ("folder", "providers", "wanted", "name", "reason"),
    [
        (Folder(), (), None, "onnxruntime", "plain decoder"),
        (Folder(), ("cpu",), None, "onnxruntime", "plain decoder"),
        (Folder("it has parts"), ("cpu",), None, "onnxruntime-genai", "it has parts"),
        (Folder(), ("cuda:gpu", "cpu"), None, "onnxruntime-genai", "cuda:gpu"),
        (Folder(), ("cuda:gpu", "cpu"), "onnxruntime", "onnxruntime", "setting"),
        (Folder(), ("cpu",), "onnxruntime-genai", "onnxruntime-genai", "setting"),
        (Folder(is_encoder=True), ("openvino:npu",), "onnxruntime-genai", "onnxruntime", "vectors"),
    ],
)
def test_the_runner_comes_with_its_reason(
    folder: Folder, providers: tuple[str, ...], wanted: object, name: str, reason: str
) -> None:
    runner = runner_for(replace(folder), providers, wanted)  # type: ignore[arg-type]
    assert runner.name == name
    assert reason in runner.reason
