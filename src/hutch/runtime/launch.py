"""How a model is to be launched: context, slots, batches, threads, and the memory that this takes. Pure but for the cores."""

from collections.abc import Sequence
from dataclasses import replace

from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.core.errors import NotBuilt
from hutch.core.hardware import split_item
from hutch.core.models import Model
from hutch.core.options import split_options
from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.formats import bert
from hutch.formats.facts import Facts
from hutch.formats.gguf import GGUF
from hutch.runtime import machine
from hutch.runtime.tuned import Values

_DEFAULT_NUM_CTX = 4096
_DEFAULT_NUM_PARALLEL = 4
_DEFAULT_NUM_BATCH = (
    512  # one step of the engine: a request that is given up ends with it, and others wait for it
)
_NUM_CTX_STEP = 256  # the engine rounds up to it
_MIN_VISION_NUM_CTX = 2048  # an image takes hundreds of tokens
_DEFAULT_DRAFT_NUM_PREDICT = 4
_ENCODER_SLOTS = (
    16  # texts in one step of the engine; an encoder keeps nothing of them, so that slots cost nothing
)
_MAX_EMBEDDING_UBATCH = 8192
_LOGIT_BYTES = (
    12  # for each token of a batch and each of the vocabulary: measured 10.8 to 11.4 (smollm2:135m)
)
_OVERHEAD_BYTES = 192 << 20  # the interpreter, the engine's graphs and work buffers: measured 150 to 190 MiB
_KV_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1.0625, "q5_1": 0.75, "q5_0": 0.6875, "q4_1": 0.625}
_KV_BYTES |= {"q4_0": 0.5625, "iq4_nl": 0.5625}
WHOLE_KV_TYPES = ("f32", "f16", "bf16")  # which need no flash attention
_NOT_OF_ONNX = ("num_gpu", "main_gpu", "use_mmap")
_SETTINGS_NOT_OF_ONNX = ("num_gpu", "kv_cache_type", "flash_attention")


def launch_plan(
    model: Model, facts: Facts, asked: LoadOptions, settings: Settings, binary: str = "", *, kind: str = ""
) -> LaunchPlan:
    """The plan for a worker: the request over the model's parameters over the settings.

    `binary`: the llama-server in use; `kind`: `cpu` where it was built here, and uses no more than ONNX Runtime does.
    """
    options = asked.over(split_options(model.parameters)[1])
    num_ctx = options.num_ctx or settings.context_length or _DEFAULT_NUM_CTX
    num_ctx = -(-num_ctx // _NUM_CTX_STEP) * _NUM_CTX_STEP
    if model.projectors or facts.sees:
        num_ctx = max(num_ctx, _MIN_VISION_NUM_CTX)
    if facts.context_length:
        num_ctx = min(num_ctx, facts.context_length)
    # A text that becomes a vector is computed as a whole: of an embedding model the batch must hold the longest.
    num_batch = options.num_batch or _DEFAULT_NUM_BATCH
    num_ubatch = (
        max_embedded(num_ctx)
        if facts.is_embedding
        else min(num_batch, max(max_embedded(num_ctx), _DEFAULT_NUM_BATCH))
    )
    # llama.cpp ends itself while it loads where the slots do not have equal parts of the batch.
    num_slots = _num_slots(facts, settings)
    num_ubatch = -(-num_ubatch // num_slots) * num_slots
    num_gpu = options.num_gpu if options.num_gpu is not None else settings.num_gpu
    num_drafted = _num_drafted(model, options)
    hardware = settings.hardware if options.hardware is None else options.hardware
    is_bert = (
        (not binary or kind == "cpu") and _is_bert(model, facts) and not _asks_for_devices(num_gpu, hardware)
    )
    if model.files or is_bert:
        plan = _onnx_plan(facts, options, settings, num_ctx)
        return replace(plan, weights=str(model.weights[0]), is_bert=True) if is_bert else plan
    return LaunchPlan(
        weights=str(model.weights[0]),
        endpoint=Endpoint(),
        num_ctx=num_ctx,
        num_slots=num_slots,
        num_batch=max(num_batch, num_ubatch),
        num_ubatch=num_ubatch,
        num_thread=options.num_thread or settings.num_thread or machine.num_cores(),
        num_gpu=layers_on_gpu(hardware, num_gpu),
        hardware=hardware,
        gpu_overhead_bytes=settings.gpu_overhead,
        main_gpu=options.main_gpu,
        use_mmap=options.use_mmap,
        flash_attention=settings.flash_attention,
        kv_cache_type=settings.cache_type,
        is_whole_context=num_ctx == facts.context_length,
        adapters=tuple(map(str, model.adapters)),
        projector=str(model.projectors[0]) if model.projectors else "",
        draft=str(model.drafts[0]) if model.drafts else "",
        draft_num_predict=num_drafted,
        context_shift=bool(options.shift),
        mean_pooling=not facts.is_embedding,
        binary=binary,
        ranks=facts.is_reranker,
    )


def said_of_tuned(model: Model, asked: LoadOptions, settings: Settings) -> frozenset[str]:
    """The values that somebody has said, so that tuned ones do not count."""
    options = asked.over(split_options(model.parameters)[1])
    said = {
        "num_thread": options.num_thread or settings.num_thread,
        "num_batch": options.num_batch,
        "num_ubatch": options.num_batch,
        "flash_attention": settings.flash_attention is not None or settings.cache_type not in WHOLE_KV_TYPES,
    }
    return frozenset(name for name, value in said.items() if value)


def with_tuned(plan: LaunchPlan, values: Values, said: frozenset[str]) -> LaunchPlan:
    """The plan with tuned values, but for those that somebody has said otherwise."""
    taken = {name: value for name, value in values.said.items() if name not in said}
    plan = replace(plan, **taken, tuned=tuple(taken))
    num_ubatch = -(-min(plan.num_ubatch, plan.num_batch) // plan.num_slots) * plan.num_slots
    return replace(plan, num_ubatch=num_ubatch, num_batch=max(plan.num_batch, num_ubatch))


def max_embedded(num_ctx: int) -> int:
    """The longest text that becomes a vector, in tokens."""
    return min(num_ctx, _MAX_EMBEDDING_UBATCH)


def batch_for(num_tokens: int) -> int:
    """The `num_batch` that holds a text of so many tokens. One of few sizes, for each new one is a load."""
    return min(max(_DEFAULT_NUM_BATCH, 1 << (num_tokens - 1).bit_length()), _MAX_EMBEDDING_UBATCH)


def layers_on_gpu(hardware: Sequence[str], num_gpu: int) -> int:
    """How many layers a GGUF model has on the GPU, where the preference leaves that open: none if the CPU comes first."""
    kinds = [split_item(item)[1] for item in hardware]
    wants_cpu = "cpu" in kinds and "gpu" not in kinds[: kinds.index("cpu")]
    return 0 if num_gpu < 0 and wants_cpu else num_gpu


def _onnx_plan(facts: Facts, options: LoadOptions, settings: Settings, num_ctx: int) -> LaunchPlan:
    """The plan for ONNX Runtime; a folder is still to be laid out. What is said of layers and maps means nothing there."""
    if options.shift and not facts.is_encoder:
        raise NotBuilt(
            "shift: the answer of an ONNX model ends where its context does",
            hint="Leave `shift` out, or ask for a larger num_ctx.",
            param="shift",
        )
    num_ubatch = max_embedded(num_ctx) if facts.is_embedding else num_ctx
    return LaunchPlan(
        weights="",
        endpoint=Endpoint(),
        engine="onnx",
        num_ctx=num_ctx,
        num_slots=_num_slots(facts, settings),
        num_batch=options.num_batch or _DEFAULT_NUM_BATCH,
        num_ubatch=num_ubatch,
        num_thread=_onnx_threads(options.num_thread or settings.num_thread or machine.num_cores()),
        num_gpu=0,
        hardware=settings.hardware if options.hardware is None else options.hardware,
        kv_cache_bytes=settings.max_kv_cache,
        is_whole_context=num_ctx == facts.context_length,
        draft_num_predict=0 if facts.is_encoder else options.draft_num_predict or 0,
        context_shift=bool(options.shift),  # which an encoder never comes to
    )


def _onnx_threads(wanted: int) -> int:
    """ONNX Runtime's threads wait for each other at work: with more than there are processors, many times as long."""
    return min(wanted, len(machine.processors()))


def _is_bert(model: Model, facts: Facts) -> bool:
    """Whether a GGUF model is one that ONNX Runtime runs faster than llama.cpp does: a BERT of floats, with nothing beside it."""
    beside = (*model.adapters, *model.projectors, *model.drafts)
    return isinstance(facts, GGUF) and not beside and not bert.problem(facts)


def _asks_for_devices(num_gpu: int, hardware: Sequence[str]) -> bool:
    """Whether a GGUF model shall have something better than the CPU, which is for llama.cpp to find."""
    return num_gpu > 0 or (bool(hardware) and split_item(hardware[0])[1] != "cpu")


def passed_over(plan: LaunchPlan, asked: LoadOptions, settings: Settings | None = None) -> tuple[str, ...]:
    """The options, and with `settings` also the settings, that are said and mean nothing to the engine of this plan."""
    if plan.engine != "onnx":
        return ()
    said = [name for name in _NOT_OF_ONNX if getattr(asked, name) is not None]
    if settings is not None:
        ours = {name: getattr(settings, name) for name in _SETTINGS_NOT_OF_ONNX}
        said += [
            name
            for name, value in ours.items()
            if name not in said and value != Settings.model_fields[name].default
        ]
    return tuple(
        name for name in said if name != "num_gpu" or not plan.is_bert
    )  # there it chooses the engine


def _num_drafted(model: Model, options: LoadOptions) -> int:
    """How many tokens are guessed ahead: by the draft model, else, where that is asked for, by what stood in the text before."""
    asked = options.draft_num_predict
    return (_DEFAULT_DRAFT_NUM_PREDICT if model.drafts else 0) if asked is None else asked


def _num_slots(facts: Facts, settings: Settings) -> int:
    if facts.is_encoder:
        return _ENCODER_SLOTS
    return 1 if facts.is_embedding else settings.num_parallel or _DEFAULT_NUM_PARALLEL


def serves(plan: LaunchPlan, asked: LoadOptions, usual: LaunchPlan) -> bool:
    """Whether a worker launched so can answer a request that asks for these options, without a reload.

    `usual` is the plan for who asks for none: what a request leaves out is not as another one had it. A smaller context or
    batch than the loaded one is served as it is; a larger one has to be loaded.
    """

    def is_same(want: object, name: str) -> bool:
        return bool((getattr(usual, name) if want is None else want) == getattr(plan, name))

    num_ctx, num_batch = asked.num_ctx or usual.num_ctx, asked.num_batch
    fits = num_ctx <= plan.num_ctx or plan.is_whole_context
    if not fits or not is_same(asked.shift, "context_shift") or not is_same(asked.hardware, "hardware"):
        return False
    if not plan.is_bert and not is_same(asked.draft_num_predict, "draft_num_predict"):
        return False
    if num_batch is None and plan.num_batch < usual.num_batch:
        return False
    if plan.engine == "onnx":
        return (
            not (plan.is_bert and (asked.num_gpu or 0) > 0)
            and num_batch in (None, plan.num_batch)
            and _onnx_threads(asked.num_thread or usual.num_thread) == plan.num_thread
        )
    return (
        (num_batch is None or _has_batch(plan, num_batch))
        and is_same(asked.num_gpu, "num_gpu")
        and is_same(asked.main_gpu, "main_gpu")
        and is_same(asked.use_mmap, "use_mmap")
        and is_same(asked.num_thread or None, "num_thread")
    )


def _has_batch(plan: LaunchPlan, num_batch: int) -> bool:
    """Whether a batch of this size, which is computed at once, is the plan's."""
    return max(num_batch, plan.num_ubatch) == plan.num_batch and "num_ubatch" not in plan.tuned


def memory_need_bytes(plan: LaunchPlan, facts: Facts, beside: Sequence[Facts] = ()) -> int:
    """What a worker of this plan will hold in memory, about. `beside`: the files beside the weights."""
    need_bytes = _OVERHEAD_BYTES + _logits_bytes(plan, facts)
    for file in (facts, *beside):
        cache_bytes = context_bytes(plan, file) * plan.num_slots
        # Of a BERT, numbers of 16 bits become such of 32, and ONNX Runtime copies them while it loads.
        copies = 4 if plan.is_bert else 1
        need_bytes += copies * file.size_bytes + min(cache_bytes, plan.kv_cache_bytes or cache_bytes)
    return need_bytes


def _logits_bytes(plan: LaunchPlan, facts: Facts) -> int:
    """What a batch larger than the usual one takes for the logits of its tokens, about."""
    if plan.engine != "llama.cpp" or facts.is_embedding or not isinstance(facts, GGUF):
        return 0
    num_words = next((each.shape[-1] for each in facts.tensors if each.name == "token_embd.weight"), 0)
    return _LOGIT_BYTES * num_words * max(0, plan.num_ubatch - _DEFAULT_NUM_BATCH)


def context_bytes(plan: LaunchPlan, file: Facts) -> int:
    """What the key-value cache of one slot takes."""
    element_bytes = file.kv_element_bytes or _KV_BYTES[plan.kv_cache_type]
    return 0 if file.is_encoder else int(file.kv_bytes_per_token(1) * element_bytes * plan.num_ctx)


def within_vram(plan: LaunchPlan, facts: Facts, free_bytes: int) -> LaunchPlan:
    """The plan with no more layers on the GPU than `free_bytes` of its memory hold."""
    num_layers = max(0, free_bytes) // _layer_bytes(plan, facts)
    return plan if num_layers >= _num_layers(facts) else replace(plan, max_gpu_layers=num_layers)


def vram_bytes(plan: LaunchPlan, facts: Facts) -> int:
    """What a worker of this plan takes of GPU memory at most, about."""
    num_layers = _num_layers(facts)
    asked = num_layers if plan.num_gpu_layers < 0 else plan.num_gpu_layers
    return min(asked, num_layers) * _layer_bytes(plan, facts)


def _num_layers(facts: Facts) -> int:
    return (facts.block_count or 0) + 1  # and the one that makes logits


def _layer_bytes(plan: LaunchPlan, facts: Facts) -> int:
    return max(1, (memory_need_bytes(plan, facts) - _OVERHEAD_BYTES) // _num_layers(facts))
