"""The GGUF worker: llama.cpp's own server, in a process of its own.

`python -m hutch.engines.llama_cpp` reads a LaunchPlan from standard input, serves until that input ends,
and so never outlives the front that started it. With `plan.binary` it becomes that llama-server.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from hutch.engines.protocol import LaunchPlan

# Tokens that must have stood in the text before, for those behind them to be guessed: with fewer, prose has wrong guesses.
_NUM_ALIKE = 10


def main() -> None:
    """Serve one model until the front closes the pipe or sends SIGTERM."""
    os.umask(0o177)  # the socket is for this user alone from the moment that it exists
    plan = LaunchPlan.loads(sys.stdin.buffer.readline())
    _die_with_parent()
    if plan.binary:
        os.execv(plan.binary, [plan.binary, *_arguments(plan)])  # noqa: S606
    server = _serve(plan)
    sys.stdin.buffer.read()  # until the front is gone
    del server
    os._exit(0)  # the engine's threads have nothing to save


def _die_with_parent() -> None:
    """On Linux, ask the kernel to end this process with the front, even where the front is killed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _serve(plan: LaunchPlan) -> object:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    import xllamacpp as engine  # noqa: PLC0415  # only here: the front must be able to name this module

    if cores:  # OpenMP has bound this thread to a core, which those that answer requests would inherit
        os.sched_setaffinity(0, cores)
    params = engine.CommonParams()
    params.model.path = plan.weights
    params.model_alias = {Path(plan.weights).name}
    if plan.endpoint.socket:
        params.hostnames = [plan.endpoint.socket]
    else:
        params.hostnames = ["127.0.0.1"]
        params.port = plan.endpoint.port
        params.api_keys = [plan.endpoint.secret]
    params.n_ctx = plan.num_ctx * plan.num_slots
    params.n_parallel = plan.num_slots
    params.n_batch = plan.num_batch
    params.n_ubatch = plan.num_ubatch
    params.cpuparams.n_threads = plan.num_thread
    params.cpuparams_batch.n_threads = plan.num_thread
    params.n_gpu_layers = plan.num_gpu_layers
    # Hutch decides what fits. The engine may choose the layers, where some GPU memory is to stay free; the context is given.
    params.fit_params = _is_fitting(plan)
    if _is_fitting(plan):
        params.fit_params_target = [plan.gpu_overhead_bytes] * len(params.fit_params_target)
    if plan.main_gpu is not None:
        params.main_gpu = plan.main_gpu
        params.split_mode = engine.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    if plan.use_mmap is not None:
        mode = engine.llama_load_mode
        params.load_mode = mode.LLAMA_LOAD_MODE_MMAP if plan.use_mmap else mode.LLAMA_LOAD_MODE_NONE
    if plan.flash_attention is not None:
        kind = engine.llama_flash_attn_type
        params.flash_attn_type = (
            kind.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if plan.flash_attention
            else kind.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
    params.cache_type_k = params.cache_type_v = getattr(
        engine.ggml_type, f"GGML_TYPE_{plan.kv_cache_type.upper()}"
    )
    if plan.repack is not None:
        params.no_extra_bufts = not plan.repack
    params.embedding = True  # llama.cpp still generates with this on, at the same speed
    params.ctx_shift = plan.context_shift
    if plan.mean_pooling:
        params.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if plan.ranks:
        params.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    _beside(params, engine, plan)
    params.cache_ram_mib = 0  # no prompt cache across slots: it has open reports of mixing conversations
    params.cache_idle_slots = False
    params.slot_prompt_similarity = 0.0  # the front chooses the slot
    params.endpoint_slots = True
    params.slot_save_path = plan.state_folder
    params.ui = False
    params.warmup = False
    return engine.Server(params)


def _beside(params: Any, engine: Any, plan: LaunchPlan) -> None:
    """The files beside the weights."""
    adapters = []
    for path in plan.adapters:
        adapters.append(engine.CommonAdapterLoraInfo())
        adapters[-1].path, adapters[-1].scale = path, 1.0
    params.lora_adapters = adapters
    params.mmproj.path = plan.projector
    params.mmproj_use_gpu = plan.num_gpu_layers != 0
    speculative = params.speculative
    if plan.draft_num_predict and not plan.draft:
        speculative.types = [engine.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        speculative.ngram_simple.size_n = _num_alike(plan)
        speculative.ngram_simple.size_m = plan.draft_num_predict
    elif plan.draft_num_predict:
        speculative.types = [engine.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        speculative.draft.mparams.path = plan.draft
        speculative.draft.n_max = plan.draft_num_predict
        speculative.draft.n_gpu_layers = plan.num_gpu_layers


def _num_alike(plan: LaunchPlan) -> int:
    return min(_NUM_ALIKE, plan.draft_num_predict)  # llama.cpp guesses nothing that is shorter


def _is_fitting(plan: LaunchPlan) -> bool:
    return plan.gpu_overhead_bytes > 0 and plan.num_gpu_layers < 0


def _arguments(plan: LaunchPlan) -> list[str]:
    """The same plan as flags of llama-server."""
    endpoint = plan.endpoint
    where = ["--host", endpoint.socket or "127.0.0.1"]
    if not endpoint.socket:
        where += ["--port", str(endpoint.port), "--api-key", endpoint.secret]
    args = [
        *where,
        *("--model", plan.weights, "--no-webui", "--offline", "--slots", "--embedding", "--no-warmup"),
        *("-c", str(plan.num_ctx * plan.num_slots), "-np", str(plan.num_slots)),
        *("-b", str(plan.num_batch), "-ub", str(plan.num_ubatch)),
        *("-t", str(plan.num_thread), "-tb", str(plan.num_thread)),
        *("--cache-type-k", plan.kv_cache_type, "--cache-type-v", plan.kv_cache_type),
        *("--cache-ram", "0", "--no-cache-idle-slots", "-sps", "0"),
        *("--fit", "on" if _is_fitting(plan) else "off"),
    ]
    if _is_fitting(plan):
        args += ["--fit-target", str(-(-plan.gpu_overhead_bytes >> 20))]
    if plan.num_gpu_layers >= 0:
        args += ["-ngl", str(plan.num_gpu_layers)]
    if plan.main_gpu is not None:
        args += ["--split-mode", "none", "--main-gpu", str(plan.main_gpu)]
    for name, is_on in (("mmap", plan.use_mmap), ("repack", plan.repack)):
        args += [] if is_on is None else [f"--{name}" if is_on else f"--no-{name}"]
    if plan.flash_attention is not None:
        args += ["--flash-attn", "on" if plan.flash_attention else "off"]
    args += ["--context-shift" if plan.context_shift else "--no-context-shift"]
    if plan.mean_pooling:
        args += ["--pooling", "mean"]
    if plan.ranks:
        args += ["--reranking"]
    if plan.state_folder:
        args += ["--slot-save-path", plan.state_folder]
    return args + _arguments_beside(plan)


def _arguments_beside(plan: LaunchPlan) -> list[str]:
    """The flags for the files beside the weights."""
    args: list[str] = []
    for path in plan.adapters:
        args += ["--lora", f'"{path}"' if "," in path else path]  # it takes a list with commas
    if plan.projector:
        args += ["--mmproj", plan.projector]
        args += ["--no-mmproj-offload"] if plan.num_gpu_layers == 0 else []
    if plan.draft_num_predict and not plan.draft:
        args += ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", str(_num_alike(plan))]
        args += ["--spec-ngram-simple-size-m", str(plan.draft_num_predict)]
    elif plan.draft_num_predict:
        args += ["--spec-type", "draft-simple", "--spec-draft-model", plan.draft]
        args += ["--spec-draft-n-max", str(plan.draft_num_predict)]
        args += ["--spec-draft-ngl", str(plan.num_gpu_layers) if plan.num_gpu_layers >= 0 else "auto"]
    return args


if __name__ == "__main__":
    main()
