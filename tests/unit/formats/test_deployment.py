"""Deployment files: what they mean, and where they are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.deployment import Deployment
from hutch.core.errors import BadInput
from hutch.core.names import ModelName
from hutch.formats import deployment as form

GUIDE = Path(__file__).parent.parent.parent / "guide" / "foundry"
NAME = "microsoft/phi-4-mini"


def guides() -> dict[str, Any]:
    """Both of the guide's files in one."""
    found: dict[str, Any] = {}
    for name in ("production.json", "performance.json"):
        found |= form.read((GUIDE / name).read_bytes(), name)
    return found


def test_every_key_of_the_guide_s_files_is_read() -> None:
    assert form.parse(guides()) == Deployment(
        model=ModelName.parse(NAME),
        port=8080,
        hardware=("npu", "gpu", "cpu"),
        quantization="dynamic",
        batch_size=4,
        max_context=4096,
        openai_compatible=True,
        batch_processing=True,
        parallel_requests=8,
        enable_kv_cache=True,
        max_cache_bytes=4 * 10**9,
        enable_dynamic_batching=True,
        max_batch_size=16,
    )


@pytest.mark.parametrize(
    ("said", "num_slots"),
    [
        ({}, 0),
        ({"batch_size": 4}, 4),
        ({"batch_size": 4, "parallel_requests": 8}, 8),
        ({"parallel_requests": 8, "max_batch_size": 6}, 6),
        ({"max_batch_size": 2}, 2),
        ({"max_batch_size": 16}, 4),
        ({"batch_size": 4, "parallel_requests": 8, "enable_dynamic_batching": False}, 4),
        ({"parallel_requests": 8, "batch_processing": False}, 1),
    ],
)
def test_how_many_requests_are_answered_at_once(said: dict[str, Any], num_slots: int) -> None:
    assert Deployment(ModelName.parse("m"), **said).num_slots == num_slots


def changed(path: str, value: object) -> dict[str, Any]:
    document = json.loads(json.dumps(guides()))
    *parents, last = path.split(".")
    part = document
    for name in parents:
        part = part[name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return dict(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("deployment.model", None, "file.json:2: deployment.model: is missing"),
        ("deployment.model", "a b", "deployment.model: invalid model name 'a b'"),
        ("deployment.model", 5, "deployment.model: Input should be a valid string"),
        (
            "deployment.hardware.preferred",
            "tpu",
            "deployment.hardware.preferred: hardware 'tpu' is not known",
        ),
        ("deployment.hardware.preferred", "npu,gpu", "name one kind of device"),
        ("deployment.hardware.fallback", "gpu", "deployment.hardware.fallback: Input should be a valid list"),
        ("deployment.hardware.fallback", ["gpu", "x"], "deployment.hardware.fallback.1: hardware 'x'"),
        ("deployment.optimization.quantization", "int3", "Input should be 'dynamic' or 'none'"),
        ("deployment.optimization.batch_size", 0, "greater than or equal to 1"),
        (
            "deployment.optimization.batch_size",
            "4",
            "deployment.optimization.batch_size: Input should be a valid integer",
        ),
        (
            "deployment.optimization.batch_size",
            32,
            "is more than performance.hardware_scheduling.max_batch_size",
        ),
        ("deployment.optimization.max_context", True, "Input should be a valid integer"),
        ("deployment.optimization.max_contex", 1, "max_contex: unknown key; did you mean 'max_context'?"),
        ("deployment.api.port", 65536, "less than or equal to 65535"),
        ("deployment.api.port", 80.5, "Input should be a valid integer"),
        ("deployment.api.openai_compatible", "yes", "Input should be a valid boolean"),
        ("deployment.api", [], "deployment.api: Input should be an object"),
        ("performance.parallel_requests", 10**30, "performance.parallel_requests: Input should be less than"),
        ("performance.memory_optimization.max_cache_size", "4 elephants", "is no size"),
        ("performance.memory_optimization.max_cache_size", "4,5GB", "is no size"),
        ("performance.memory_optimization.max_cache_size", "1.5.5GB", "is no size"),
        ("performance.memory_optimization.max_cache_size", -1, "max_cache_size"),
        ("performance.memory_optimization.max_cache_size", False, "write a size"),
        ("performance.zzzzzz", 1, "performance.zzzzzz: unknown key"),
        ("deploiment", {}, "deploiment: unknown key; did you mean 'deployment'?"),
    ],
)
def test_an_error_names_the_line_the_key_and_the_reason(path: str, value: object, message: str) -> None:
    data = json.dumps(changed(path, value), indent=2).encode()
    document = form.read(data, "file.json")
    with pytest.raises(BadInput) as caught:
        form.parse(document, form.lines_of(data, "file.json"))
    assert message in caught.value.message
    assert caught.value.message.startswith("file.json:")


def test_all_errors_are_told_at_once() -> None:
    document = changed("deployment.api.port", "80")
    document["performance"]["batch_processing"] = 1
    with pytest.raises(BadInput) as caught:
        form.parse(document)
    assert len(caught.value.message.splitlines()) == 2
    with pytest.raises(BadInput, match="and 92 more"):
        form.parse(guides() | {f"x{number}": 1 for number in range(100)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "f:1: no JSON"),
        ((GUIDE / "production.json").read_bytes()[:200], "f:10: no JSON"),
        (b"[]", "holds no JSON object"),
        (b"\xff\xfe{}", "f is no JSON"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b"[" * 100_000, "too deep"),
        (b" " * ((1 << 20) + 1), "at most 1,048,576 are allowed"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        form.read(data, "f")


COUNTS = st.integers(0, 256)


@given(
    st.builds(
        Deployment,
        model=st.sampled_from([ModelName.parse(NAME), ModelName.parse("m:7b")]),
        port=st.integers(1, 65535),
        hardware=st.lists(st.sampled_from(["npu", "gpu", "cpu", "openvino:npu"]), unique=True).map(tuple),
        quantization=st.sampled_from(["none", "dynamic"]),
        batch_size=st.just(0),
        max_context=st.integers(0, 1 << 24),
        openai_compatible=st.booleans(),
        batch_processing=st.booleans(),
        parallel_requests=COUNTS,
        enable_kv_cache=st.booleans(),
        max_cache_bytes=st.integers(0, 1 << 50),
        enable_dynamic_batching=st.booleans(),
        max_batch_size=COUNTS,
    )
)
def test_what_is_written_down_is_read_again(deployment: Deployment) -> None:
    document = form.document_of(deployment)
    assert form.parse(json.loads(json.dumps(document))) == deployment
    data = json.dumps(document, indent=1).encode()
    lines = form.lines_of(data, "f")
    for path in form.flat(document):
        key = tuple(path[0].split("."))
        line = int(lines[key].partition(":")[2])
        assert f'"{key[-1]}"' in data.decode().splitlines()[line - 1]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    data = json.dumps(value).encode()
    try:
        form.lines_of(data, "f")
        form.parse(form.read(data, "f"))
    except BadInput as error:
        assert error.message  # noqa: PT017
