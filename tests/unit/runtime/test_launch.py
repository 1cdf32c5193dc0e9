"""How a model is launched."""

from dataclasses import replace
from math import prod
from typing import Any

import pytest

from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.core.errors import NotBuilt
from hutch.engines import llama_cpp
from hutch.engines.protocol import Endpoint, LaunchPlan, engine_name
from hutch.formats.encoder_config import EncoderConfig
from hutch.formats.gguf import GGUF, Tensor
from hutch.runtime import machine
from hutch.runtime.launch import (
    batch_for,
    launch_plan,
    memory_need_bytes,
    passed_over,
    serves,
    vram_bytes,
    within_vram,
)
from tests.unit.runtime.things import facts, model, onnx_facts, onnx_model


def plan(
    asked: LoadOptions | None = None,
    given: GGUF | None = None,
    own: dict[str, Any] | None = None,
    **settings: Any,
) -> LaunchPlan:
    return launch_plan(
        model(parameters=own or {}), given or facts(), asked or LoadOptions(), Settings(**settings)
    )


@pytest.mark.parametrize(
    ("asked", "own", "setting", "trained", "num_ctx"),
    [
        (None, {}, 0, 8192, 4096),
        (None, {}, 0, 2048, 2048),
        (None, {}, 0, None, 4096),
        (None, {}, 6144, 8192, 6144),
        (None, {"num_ctx": 5120}, 6144, 8192, 5120),
        (7000, {"num_ctx": 5120}, 6144, 8192, 7168),
        (100_000, {}, 0, 8192, 8192),
        (100_000, {}, 0, None, 100_096),
        (1, {}, 0, 8192, 256),
        (257, {}, 0, 8192, 512),
        (1, {}, 0, 64, 64),
    ],
)
def test_the_context_is_what_was_asked_for_up_to_what_the_model_knows(
    asked: int | None, own: dict[str, Any], setting: int, trained: int | None, num_ctx: int
) -> None:
    given = facts(llama__context_length=trained)
    result = plan(LoadOptions(num_ctx=asked), given, own, context_length=setting)
    assert result.num_ctx == num_ctx
    assert result.is_whole_context == (num_ctx == trained)


def test_a_plan_has_defaults_for_all_that_is_not_said() -> None:
    result = plan()
    assert (result.num_slots, result.num_batch, result.num_ubatch) == (4, 512, 512)
    assert result.num_thread == machine.num_cores()
    assert (result.num_gpu, result.main_gpu, result.use_mmap, result.flash_attention) == (
        -1,
        None,
        None,
        None,
    )
    assert (result.kv_cache_type, result.binary, result.mean_pooling) == ("f16", "", True)
    assert result.weights == "/models/tiny.gguf"


def test_settings_count_and_the_request_counts_more() -> None:
    settings = {
        "num_parallel": 2,
        "num_thread": 3,
        "num_gpu": 0,
        "kv_cache_type": "q8_0",
    }
    result = plan(None, None, {"use_mmap": False}, **settings)
    assert (result.num_slots, result.num_thread, result.num_gpu, result.use_mmap) == (2, 3, 0, False)
    assert result.kv_cache_type == "q8_0"
    assert engine_name(replace(result, binary="/x/llama-server")) == "llama-server (/x/llama-server)"
    asked = LoadOptions(num_thread=7, num_gpu=5, main_gpu=1, use_mmap=True, num_batch=1024)
    result = plan(asked, None, {"use_mmap": False}, **settings)
    assert (result.num_thread, result.num_gpu, result.main_gpu, result.use_mmap) == (7, 5, 1, True)
    assert result.num_batch == 1024


@pytest.mark.parametrize(("num_ctx", "num_ubatch"), [(512, 512), (2048, 2048), (32768, 8192)])
def test_an_embedding_models_batch_holds_its_longest_text(num_ctx: int, num_ubatch: int) -> None:
    given = facts(general__architecture="bert", bert__context_length=32768)
    result = plan(LoadOptions(num_ctx=num_ctx), given)
    assert (result.num_ubatch, result.mean_pooling) == (num_ubatch, False)
    assert result.num_batch >= result.num_ubatch


@pytest.mark.parametrize(("num_batch", "num_ubatch"), [(100, 100), (2048, 2048), (9000, 4096)])
def test_num_batch_is_how_long_a_text_a_model_that_writes_can_embed(num_batch: int, num_ubatch: int) -> None:
    result = plan(LoadOptions(num_batch=num_batch))
    assert (result.num_batch, result.num_ubatch) == (num_batch, num_ubatch)
    assert serves(result, LoadOptions(num_batch=num_batch), result)


def test_a_small_cache_type_needs_flash_attention() -> None:
    assert plan(kv_cache_type="q8_0").kv_cache_type == "q8_0"
    assert plan(kv_cache_type="q8_0", flash_attention=True).kv_cache_type == "q8_0"
    assert plan(kv_cache_type="q8_0", flash_attention=False).kv_cache_type == "f16"
    assert plan(kv_cache_type="f32", flash_attention=False).kv_cache_type == "f32"


def test_onnx_runtime_has_no_more_threads_than_there_are_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "processors", lambda: {0, 1, 2})
    result = onnx_plan(num_thread=64)
    assert result.num_thread == 3
    assert serves(result, LoadOptions(num_thread=8), result)
    assert not serves(result, LoadOptions(num_thread=2), result)


@pytest.mark.parametrize(
    ("num_slots", "num_batch", "found"), [(3, 512, 513), (4, 512, 512), (4, 511, 512), (7, 2, 7)]
)
def test_slots_have_equal_parts_of_a_batch(num_slots: int, num_batch: int, found: int) -> None:
    asked = LoadOptions(num_batch=num_batch)
    result = plan(asked, num_parallel=num_slots)
    assert (result.num_slots, result.num_batch, result.num_ubatch) == (num_slots, found, found)
    assert serves(result, asked, result)


@pytest.mark.parametrize(("num_tokens", "num_batch"), [(2, 512), (513, 1024), (4096, 4096), (9000, 8192)])
def test_a_batch_for_a_text_is_of_one_of_few_sizes(num_tokens: int, num_batch: int) -> None:
    assert batch_for(num_tokens) == num_batch
    assert not serves(plan(), LoadOptions(num_batch=num_batch), plan()) or num_batch == 512


def test_a_larger_batch_takes_memory_for_its_logits() -> None:
    given = replace(facts(), tensors=(Tensor("token_embd.weight", (8, 1000), "F32", 0, 32_000),))
    small, large = plan(given=given), plan(LoadOptions(num_batch=1512), given)
    assert memory_need_bytes(large, given) - memory_need_bytes(small, given) == 12 * 1000 * 1000


@pytest.mark.parametrize(
    ("asked", "is_served"),
    [
        (LoadOptions(), True),
        (LoadOptions(num_ctx=4096), True),
        (LoadOptions(num_ctx=16), True),
        (LoadOptions(num_ctx=4097), False),
        (LoadOptions(num_gpu=-1), True),
        (LoadOptions(num_gpu=0), False),
        (LoadOptions(main_gpu=0), False),
        (LoadOptions(use_mmap=True), False),
        (LoadOptions(num_thread=0), True),
        (LoadOptions(num_thread=3), True),
        (LoadOptions(num_thread=4), False),
        (LoadOptions(shift=False), True),
        (LoadOptions(shift=True), False),
    ],
)
def test_a_loaded_model_serves_what_needs_no_reload(asked: LoadOptions, is_served: bool) -> None:
    assert serves(plan(num_thread=3), asked, plan(num_thread=3)) is is_served


@pytest.mark.parametrize(
    ("had", "is_served"),
    [
        (LoadOptions(num_ctx=256), False),
        (LoadOptions(num_ctx=8000), True),
        (LoadOptions(num_batch=64), False),
        (LoadOptions(num_batch=2048), True),
        (LoadOptions(shift=True), False),
        (LoadOptions(shift=False), True),
        (LoadOptions(num_thread=1), False),
        (LoadOptions(num_thread=3), True),
        (LoadOptions(num_gpu=0), False),
        (LoadOptions(use_mmap=False), False),
    ],
)
def test_what_a_request_leaves_out_is_not_as_another_one_had_it(had: LoadOptions, is_served: bool) -> None:
    loaded = plan(had, num_thread=3)
    assert serves(loaded, LoadOptions(), plan(num_thread=3)) is is_served
    assert serves(loaded, had, plan(num_thread=3))


def test_a_model_with_all_its_context_serves_any() -> None:
    result = plan(LoadOptions(num_ctx=8192))
    assert result.is_whole_context
    assert serves(result, LoadOptions(num_ctx=1 << 20), result)


@pytest.mark.parametrize(
    "asked",
    [
        LoadOptions(num_ctx=100_000, num_gpu=3, main_gpu=0, use_mmap=False, num_thread=9),
        LoadOptions(num_ctx=8, shift=True),
        LoadOptions(num_ctx=1),
    ],
)
def test_what_was_loaded_for_a_request_serves_it(asked: LoadOptions) -> None:
    assert serves(plan(asked), asked, plan(asked))


@pytest.mark.parametrize(
    ("kv_type", "bytes_per_element"), [("f32", 4.0), ("f16", 2.0), ("q8_0", 1.0625), ("q4_0", 0.5625)]
)
def test_memory_is_the_file_the_cache_and_the_engine(kv_type: str, bytes_per_element: float) -> None:
    given = facts(size_bytes=1 << 30)
    result = plan(None, given, num_parallel=2, kv_cache_type=kv_type)
    per_token = 2 * 2 * 2 * 2  # layers, keys and values, heads, head length
    cache = int(per_token * bytes_per_element * 4096 * 2)
    assert memory_need_bytes(result, given) == (1 << 30) + cache + (192 << 20)


def test_a_plan_reads_back_as_it_was_written() -> None:
    result = plan(LoadOptions(main_gpu=1, use_mmap=True), flash_attention=False)
    for endpoint in (Endpoint(socket="/tmp/a b.sock"), Endpoint(port=5, secret="s")):
        placed = LaunchPlan(
            **{name: getattr(result, name) for name in result.__slots__} | {"endpoint": endpoint}
        )
        line = placed.dumps()
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert LaunchPlan.loads(line) == placed


def test_an_endpoints_label_holds_no_secret() -> None:
    assert Endpoint(port=5, secret="hush").label == "127.0.0.1:5"
    assert Endpoint(socket="/run/1.sock").label == "/run/1.sock"


@pytest.mark.parametrize(
    ("asked", "free_layers", "given"),
    [(-1, 3, -1), (-1, 9, -1), (-1, 2, 2), (35, 2, 2), (1, 2, 1), (35, 0, 0), (-1, -5, 0), (0, 2, 0)],
)
def test_no_more_layers_go_on_the_gpu_than_its_memory_holds(asked: int, free_layers: int, given: int) -> None:
    file = facts(3 << 30)  # two blocks, and what makes logits
    free = plan(given=file, num_gpu=asked)
    layer_bytes = vram_bytes(plan(given=file, num_gpu=1), file)
    bound = within_vram(free, file, free_layers * layer_bytes)
    assert bound.num_gpu_layers == given
    assert vram_bytes(bound, file) <= max(0, free_layers) * layer_bytes
    assert serves(
        bound, LoadOptions(num_gpu=asked), bound
    )  # asking for the same again is no reason to reload


def test_memory_that_is_to_stay_free_on_a_gpu_reaches_the_engine() -> None:
    said = llama_cpp._arguments(plan(gpu_overhead=(1 << 30) + 1))
    assert said[said.index("--fit") :][:4] == ["--fit", "on", "--fit-target", "1025"]
    for other in (plan(), plan(gpu_overhead=1 << 30, num_gpu=5)):  # who names the layers has decided
        said = llama_cpp._arguments(other)
        assert said[said.index("--fit") + 1] == "off"


def test_a_plan_arrives_as_it_was_sent() -> None:
    plan = LaunchPlan(
        *("/folder", Endpoint(socket="/s"), 1024, 4, 512, 512, 2),
        engine="onnx",
        kv_cache_bytes=1 << 30,
        providers=("OpenVINOExecutionProvider", "CPUExecutionProvider"),
    )
    assert LaunchPlan.loads(plan.dumps()) == plan
    assert engine_name(plan) == "onnxruntime"


def onnx_plan(asked: LoadOptions | None = None, **settings: Any) -> LaunchPlan:
    return launch_plan(onnx_model(), onnx_facts(), asked or LoadOptions(), Settings(**settings))


def test_a_folder_of_onnx_is_launched_with_its_engine() -> None:
    plain = onnx_plan(num_thread=1)
    assert (plain.engine, plain.num_ctx, plain.num_slots, plain.num_thread) == ("onnx", 4096, 4, 1)
    assert onnx_plan(LoadOptions(num_ctx=700)).num_ctx == 768
    assert onnx_plan(LoadOptions(num_ctx=100_000)).num_ctx == 8192
    assert onnx_plan(num_parallel=8).num_slots == 8
    assert onnx_plan(LoadOptions(num_batch=64)).num_batch == 64


def test_what_means_nothing_to_onnx_is_passed_over() -> None:
    asked = LoadOptions(num_gpu=7, main_gpu=1, use_mmap=False)
    assert onnx_plan(asked, kv_cache_type="q8_0") == onnx_plan()
    assert serves(onnx_plan(), asked, onnx_plan())


def test_onnx_guesses_tokens_where_that_is_asked_for() -> None:
    asked = LoadOptions(draft_num_predict=12)
    assert (onnx_plan().draft_num_predict, onnx_plan(asked).draft_num_predict) == (0, 12)
    assert not serves(onnx_plan(), asked, onnx_plan())
    assert serves(onnx_plan(asked), asked, onnx_plan())


def test_another_context_batch_or_count_of_threads_reloads_onnx() -> None:
    loaded = onnx_plan(num_thread=2)
    for asked in (LoadOptions(num_ctx=8192), LoadOptions(num_batch=9), LoadOptions(num_thread=1)):
        assert not serves(loaded, asked, loaded)
    assert serves(loaded, LoadOptions(num_ctx=100, num_batch=loaded.num_batch, num_thread=2), loaded)
    assert serves(
        onnx_plan(LoadOptions(num_ctx=8192)),
        LoadOptions(num_ctx=100_000),
        onnx_plan(LoadOptions(num_ctx=8192)),
    )


def test_onnx_does_not_shift_its_context() -> None:
    assert serves(onnx_plan(), LoadOptions(shift=False), onnx_plan())
    assert not serves(onnx_plan(), LoadOptions(shift=True), onnx_plan())
    with pytest.raises(NotBuilt, match="shift"):
        onnx_plan(LoadOptions(shift=True))


def test_onnx_keeps_the_numbers_of_its_graph_in_memory() -> None:
    empty = memory_need_bytes(onnx_plan(num_parallel=1), onnx_facts(0, config=None))
    per_token = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, their size, float32
    for num_parallel in (1, 4):
        found = memory_need_bytes(onnx_plan(num_parallel=num_parallel), onnx_facts(1000))
        assert found - empty == 1000 + per_token * 4096 * num_parallel


def test_a_bound_on_the_cache_is_a_bound_on_the_need() -> None:
    bounded = onnx_plan(max_kv_cache=1 << 20)
    assert bounded.kv_cache_bytes == 1 << 20
    empty = memory_need_bytes(bounded, onnx_facts(0, config=None))
    assert memory_need_bytes(bounded, onnx_facts(0)) - empty == 1 << 20


def test_an_encoder_of_onnx_takes_many_texts_at_once() -> None:
    encoder = onnx_facts(config=None, encoder=EncoderConfig("bert", 16, 1, 128, is_reranker=False))
    found = launch_plan(onnx_model(), encoder, LoadOptions(), Settings())
    assert (found.num_ctx, found.num_ubatch, found.num_slots) == (128, 128, 16)
    assert memory_need_bytes(found, encoder) == memory_need_bytes(found, onnx_facts(1000, config=None))


def bert_facts(**changes: Any) -> GGUF:
    """A BERT of floats with one layer."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (16, 8),
        "position_embd.weight": (16, 512),
        "token_types.weight": (16, 2),
    }
    shapes |= {f"token_embd_norm.{part}": (16,) for part in ("weight", "bias")}
    for name, rows, columns in (("ffn_up", 24, 16), ("ffn_down", 16, 24)):
        shapes |= {f"blk.0.{name}.weight": (columns, rows), f"blk.0.{name}.bias": (rows,)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes |= {f"blk.0.{name}.weight": (16, 16), f"blk.0.{name}.bias": (16,)}
    for name in ("attn_output_norm", "layer_output_norm"):
        shapes |= {f"blk.0.{name}.{part}": (16,) for part in ("weight", "bias")}
    metadata = {
        "general.architecture": "bert",
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": (),  # of a remembered header
        "bert.block_count": 1,
        "bert.context_length": 512,
        "bert.embedding_length": 16,
        "bert.feed_forward_length": 24,
        "bert.attention.head_count": 2,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
    }
    metadata |= {key.replace("__", "."): value for key, value in changes.items()}
    tensors = tuple(Tensor(name, shape, "F16", 0, 2 * prod(shape)) for name, shape in shapes.items())
    return GGUF(3, metadata, tensors, 1 << 20)


def bert_plan(
    asked: LoadOptions | None = None,
    given: GGUF | None = None,
    engine: tuple[str, str] = ("", ""),
    **settings: Any,
) -> LaunchPlan:
    return launch_plan(
        *(model(parameters={"num_ctx": 256}), given or bert_facts(), asked or LoadOptions()),
        *(Settings(**settings), engine[0]),
        kind=engine[1],
    )


def test_a_bert_of_floats_is_run_by_onnx_runtime() -> None:
    assert bert_plan(engine=("/built/llama-server", "cpu")) == bert_plan()
    found = bert_plan()
    assert (found.engine, found.is_bert, found.weights) == ("onnx", True, str(model().weights[0]))
    assert (found.num_ctx, found.num_ubatch, found.num_slots, found.num_gpu) == (256, 256, 16, 0)
    assert memory_need_bytes(found, bert_facts()) == memory_need_bytes(
        onnx_plan(), onnx_facts(0, config=None)
    ) + (4 << 20)
    assert passed_over(found, LoadOptions(num_gpu=0, use_mmap=True)) == ("use_mmap",)


def test_llama_cpp_keeps_a_bert_where_it_was_asked_for() -> None:
    bert = bert_facts()
    quantized = replace(bert, tensors=(replace(bert.tensors[0], type_name="Q8_0"), *bert.tensors[1:]))
    plans = (
        bert_plan(engine=("/built/llama-server", "path")),
        bert_plan(engine=("/built/llama-server", "cuda")),
        bert_plan(LoadOptions(num_gpu=1)),
        bert_plan(num_gpu=99),
        bert_plan(LoadOptions(hardware=("gpu", "cpu"))),
        bert_plan(given=quantized),
        bert_plan(given=replace(bert, tensors=bert.tensors[1:])),
        bert_plan(given=bert_facts(bert__pooling_type=4)),
        bert_plan(given=bert_facts(tokenizer__ggml__model="t5")),
        bert_plan(given=bert_facts(bert__attention__causal=True)),
        bert_plan(given=bert_facts(bert__attention__head_count=3)),
        bert_plan(given=bert_facts(general__architecture="nomic-bert")),
    )
    for found in plans:
        assert (found.engine, found.is_bert) == ("llama.cpp", False)
    assert plans[0].binary == "/built/llama-server"


def test_what_changes_the_engine_of_a_bert_reloads_it() -> None:
    loaded = bert_plan()
    assert not serves(loaded, LoadOptions(num_gpu=1), loaded)
    assert not serves(loaded, LoadOptions(hardware=("gpu", "cpu")), loaded)
    assert not serves(loaded, LoadOptions(num_ctx=512), loaded)
    assert serves(loaded, LoadOptions(num_gpu=0, use_mmap=True, num_ctx=100), loaded)
    assert serves(
        bert_plan(LoadOptions(shift=True)), LoadOptions(shift=True), bert_plan(LoadOptions(shift=True))
    )  # which it never comes to
    assert serves(
        bert_plan(LoadOptions(num_ctx=512)), LoadOptions(num_ctx=8192), bert_plan(LoadOptions(num_ctx=512))
    )


def test_what_means_nothing_to_an_onnx_model_is_known_by_name() -> None:
    asked = LoadOptions(num_gpu=0, use_mmap=True, num_thread=2)
    onnx = launch_plan(onnx_model(), onnx_facts(), asked, Settings())
    assert passed_over(onnx, asked) == ("num_gpu", "use_mmap")
    assert passed_over(onnx, LoadOptions(), Settings(kv_cache_type="q4_0", flash_attention=True)) == (
        "kv_cache_type",
        "flash_attention",
    )
    assert passed_over(onnx, LoadOptions(), Settings()) == ()
    assert passed_over(plan(asked), asked, Settings(kv_cache_type="q4_0")) == ()
