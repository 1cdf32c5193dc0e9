"""The session with its rows: the same logits in any company and in any chunks, and nothing of what a row held before."""

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import quantize_dynamic

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx.session import Decoder
from hutch.formats import genai_config
from tests import onnx_files, onnx_variants

Change = Callable[[onnx.ModelProto], onnx.ModelProto]
NUM_ROWS, NUM_CTX = 4, 96
SHAPES: dict[str, Sequence[Change]] = {
    "plain": (),
    "unpruned": (onnx_variants.unpruned,),
    "fused": (onnx_variants.fused,),
    "positions": (onnx_variants.with_positions,),
    "int4": (onnx_variants.int4,),
    "int4 unpruned fused": (onnx_variants.fused, onnx_variants.unpruned, onnx_variants.int4),
}
SHAPE = onnx_files.Shape(layers=3, heads=6, kv_heads=2)


def config(folder: Path, shape: onnx_files.Shape = SHAPE) -> genai_config.Decoder:
    """What genai_config.json says of the decoder."""
    onnx_files.write_llama(folder, shape)
    decoder = genai_config.read(folder / genai_config.NAME).decoder
    assert decoder is not None
    return decoder


def session(changes: Sequence[Change] = (), shape: onnx_files.Shape = SHAPE) -> ort.InferenceSession:
    """The graph in memory."""
    model = reduce(lambda made, change: change(made), changes, onnx_files.llama(shape))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=SHAPES)
def kind(request: pytest.FixtureRequest) -> str:
    """Each shape."""
    return str(request.param)


@pytest.fixture(scope="module")
def decoder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """A decoder of this shape."""
    made = Decoder(session(SHAPES[kind]), config(tmp_path_factory.mktemp("model")), NUM_ROWS, NUM_CTX)
    assert (made.min_rows, made.is_reproducible) == (1, True)
    return made


def tokens(count: int, seed: int = 1) -> list[int]:
    """Any text."""
    found: list[int] = np.random.default_rng(seed).integers(3, SHAPE.vocab, count).tolist()
    return found


def read(decoder: Decoder, row: int, ids: Sequence[int], chunk: int = 1 << 20, start: int = 0) -> Any:
    """Put a text into a row, and return what the model expects next."""
    found = None
    while start < len(ids):
        end = min(start + chunk, len(ids))
        end += len(ids) - end == 1  # a token alone goes through other kernels
        found = decoder.prefill(row, ids[start:end], start, want_logits=end == len(ids))
        start = end
    assert found is not None
    return found.copy()


def spoil(decoder: Decoder, value: float = np.nan) -> None:
    """Fill all rows with what no request may ever see."""
    for each in decoder._caches:
        each.array[:] = value


@pytest.mark.parametrize("chunk", [2, 3, 7, 16, 33])
def test_chunks_say_what_the_whole_prompt_says(decoder: Decoder, kind: str, chunk: int) -> None:
    ids = tokens(41)
    found, whole = read(decoder, 1, ids, chunk), read(decoder, 2, ids)
    # Sums of floats depend on how many rows a kernel sees, and in eight bits what is on an edge may fall to either side.
    assert np.allclose(found, whole, atol=0.6 if "int4" in kind else 1e-4)


def test_a_row_s_logits_are_the_same_bits_in_any_company(decoder: Decoder) -> None:
    texts = [tokens(5 + 7 * row, row) for row in range(NUM_ROWS)]
    for row, text in enumerate(texts):
        read(decoder, row, text)
    alone = [decoder.decode(row, [9 + row], [len(text)]).copy() for row, text in enumerate(texts)]
    for first in range(NUM_ROWS):
        for last in range(first, NUM_ROWS):
            rows = range(first, last + 1)
            found = decoder.decode(first, [9 + row for row in rows], [len(texts[row]) for row in rows])
            for row in rows:
                assert np.array_equal(found[row - first], alone[row][0]), (first, last, row)


def test_activations_that_are_scaled_over_a_whole_batch_are_found_to_depend_on_it(tmp_path: Path) -> None:
    config_of_it = config(tmp_path / "model")
    onnx.save(onnx_files.llama(SHAPE), tmp_path / "floats.onnx")
    quantize_dynamic(
        tmp_path / "floats.onnx",
        tmp_path / "dynamic.onnx",
        op_types_to_quantize=["MatMul"],
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    opened = ort.InferenceSession(tmp_path / "dynamic.onnx", providers=["CPUExecutionProvider"])
    made = Decoder(opened, config_of_it, NUM_ROWS, NUM_CTX)
    assert (made.min_rows, made.is_reproducible) == (1, False)


def test_decoding_says_what_reading_says(decoder: Decoder) -> None:
    ids = tokens(30)
    read(decoder, 0, ids[:20])
    for position in range(20, 30):
        found = decoder.decode(0, [ids[position]], [position]).copy()
    assert np.allclose(found[0], read(decoder, 1, ids), atol=0.6)  # in eight bits, rounding makes this much


def test_nothing_that_a_row_held_before_reaches_a_new_text(decoder: Decoder) -> None:
    ids = tokens(23)
    for row in range(NUM_ROWS):
        decoder.free(row)
    clean = read(decoder, 2, ids, 10)
    stepped = decoder.decode(2, [7], [len(ids)]).copy()
    spoil(decoder)
    assert np.array_equal(read(decoder, 2, ids, 10), clean)
    company = [read(decoder, row, tokens(4, row)) for row in (1, 3)]
    assert np.isfinite(company).all()
    assert np.array_equal(decoder.decode(1, [5, 7, 6], [4, len(ids), 4])[1], stepped[0])


def test_the_last_position_of_a_context_can_be_written(decoder: Decoder) -> None:
    ids = tokens(NUM_CTX)
    whole = read(decoder, 0, ids)
    read(decoder, 1, ids[:-1])
    assert np.allclose(decoder.decode(1, [ids[-1]], [NUM_CTX - 1])[0], whole, atol=0.6)


def test_rows_are_swapped(decoder: Decoder) -> None:
    left, right = tokens(12, 1), tokens(9, 2)
    read(decoder, 0, left)
    read(decoder, 3, right)
    wanted = [decoder.decode(0, [5], [12]).copy(), decoder.decode(3, [5], [9]).copy()]
    decoder.swap(0, 3, 12)
    assert np.array_equal(decoder.decode(3, [5], [12]), wanted[0])
    assert np.array_equal(decoder.decode(0, [5], [9]), wanted[1])


def test_a_row_s_memory_is_given_back(decoder: Decoder) -> None:
    for row in range(NUM_ROWS):
        read(decoder, row, tokens(30, row))
    kept = [each.array[[0, 2, 3]].copy() for each in decoder._caches]
    decoder.free(1)
    for each, others in zip(decoder._caches, kept, strict=True):
        assert not each.array[1].any()
        assert np.array_equal(each.array[[0, 2, 3]], others, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_mix_of_steps_gives_what_each_text_gives_alone(mixed: Decoder, data: st.DataObject) -> None:
    texts = data.draw(
        st.lists(
            st.lists(st.integers(3, SHAPE.vocab - 1), min_size=2, max_size=20), min_size=1, max_size=NUM_ROWS
        )
    )
    chunk = data.draw(st.integers(2, 9))
    spoil(mixed)
    for row, text in enumerate(texts):
        read(mixed, row, text, chunk)
    together = mixed.decode(0, [4] * len(texts), [len(text) for text in texts]).copy()
    for row, text in enumerate(texts):
        spoil(mixed)
        read(mixed, row, text)
        assert np.array_equal(mixed.decode(row, [4], [len(text)])[0], together[row])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """One for the property test."""
    return Decoder(
        session((onnx_variants.int4,)), config(tmp_path_factory.mktemp("model")), NUM_ROWS, NUM_CTX
    )


def test_a_cache_that_is_not_written_in_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises((BadInput, EngineFailed)):
        Decoder(session((onnx_variants.unshared,)), config(tmp_path), NUM_ROWS, NUM_CTX)


def test_an_input_that_nobody_gives_is_named(tmp_path: Path) -> None:
    def images(model: onnx.ModelProto) -> onnx.ModelProto:
        model.graph.input.append(onnx.helper.make_tensor_value_info("pixel_values", 1, [1]))
        return model

    with pytest.raises(BadInput, match="pixel_values"):
        Decoder(session((images,)), config(tmp_path), NUM_ROWS, NUM_CTX)


def test_a_graph_without_what_the_configuration_names_is_refused(tmp_path: Path) -> None:
    said = config(tmp_path)
    names = {**said.names, "present_key_names": "now.%d.key"}
    with pytest.raises(BadInput, match=r"now\.0\.key"):
        Decoder(session(), genai_config.Decoder(**{**vars_of(said), "names": names}), NUM_ROWS, NUM_CTX)


def vars_of(said: genai_config.Decoder) -> dict[str, Any]:
    """Its fields."""
    return {name: getattr(said, name) for name in said.__slots__}


def test_a_failing_step_is_an_error_of_the_engine(decoder: Decoder) -> None:
    with pytest.raises(EngineFailed, match="ONNX Runtime could not run the model"):
        decoder.prefill(0, [SHAPE.vocab + 5, 1], 0)
    assert np.isfinite(read(decoder, 0, tokens(5))).all()


def test_a_token_takes_what_its_keys_and_values_take(decoder: Decoder) -> None:
    assert decoder.token_bytes == SHAPE.layers * 2 * SHAPE.kv_heads * SHAPE.head_size * 4
