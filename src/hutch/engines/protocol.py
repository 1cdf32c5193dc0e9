"""What the front asks of a worker: how to launch one, and where it then listens.

On the wire a worker speaks a subset of llama-server's HTTP API: `/health`, `/v1/chat/completions`,
`/completion`, `/v1/embeddings`, `/rerank`, `/tokenize`, `/apply-template`, `/slots`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a worker listens: a Unix socket, or a loopback port guarded by a secret."""

    socket: str = ""
    port: int = 0
    secret: str = ""

    @property
    def label(self) -> str:
        """For people and for `ps`; holds no secret."""
        return self.socket or f"127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Everything that a worker needs to know. `num_ctx` is the context of one slot, in tokens.

    `weights` is a GGUF file, or for the engine onnx the folder in which the model's files are laid out, unless `is_bert`.
    """

    weights: str
    endpoint: Endpoint
    num_ctx: int
    num_slots: int
    num_batch: int
    num_ubatch: int
    num_thread: int
    num_gpu: int = -1
    max_gpu_layers: int | None = None  # what the bound of GPU memory allows
    gpu_overhead_bytes: int = 0
    main_gpu: int | None = None
    use_mmap: bool | None = None
    flash_attention: bool | None = None
    repack: bool | None = (
        None  # weights in the order in which the processor reads them; None: where the engine can
    )
    kv_cache_type: str = "f16"
    is_whole_context: bool = (
        False  # num_ctx is all that the model was trained for: asking for more changes nothing
    )
    context_shift: bool = False  # at the context's end the oldest tokens go, and the answer goes on
    mean_pooling: bool = False  # embeddings of a model that was not made for them
    ranks: bool = False  # the model scores documents, and makes neither text nor vectors
    adapters: tuple[str, ...] = ()  # LoRA files, each laid over the weights in full
    projector: str = ""  # for images
    draft: str = ""  # a small model that guesses tokens ahead
    draft_num_predict: int = 0  # how many; without such a model they are looked up in the text before
    binary: str = ""  # a llama-server to run instead of the built-in engine
    engine: str = "llama.cpp"  # a name in ENGINES
    kv_cache_bytes: int = (
        0  # the most that an engine's key-value cache may take; 0: all slots at full context
    )
    providers: tuple[
        str, ...
    ] = ()  # ONNX Runtime's execution providers in the order to try, as `openvino:npu` or `cpu`; none: the CPU's
    runner: str = ""  # which library runs an ONNX folder: onnxruntime or onnxruntime-genai
    is_bert: bool = False  # for the engine onnx: `weights` is the GGUF file of a BERT of floats
    hardware: tuple[str, ...] = ()  # the preference that this plan was made for
    tuned: tuple[str, ...] = ()  # the fields that are as `hutch tune` found them to be best
    state_folder: str = (
        ""  # where `/slots/N` with save and restore finds files, with a slash at its end; "": nowhere
    )

    @property
    def num_gpu_layers(self) -> int:
        """What was asked for, within what is allowed; -1: as many as there are."""
        if self.max_gpu_layers is None:
            return self.num_gpu
        return min(self.num_gpu, self.max_gpu_layers) if self.num_gpu >= 0 else self.max_gpu_layers

    def dumps(self) -> bytes:
        """As one line of JSON, which is what a worker reads first from its standard input."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def loads(cls, line: bytes) -> "LaunchPlan":
        """Read what `dumps` wrote."""
        fields: Mapping[str, Any] = json.loads(line)
        lists = {name: tuple(fields[name]) for name in ("adapters", "providers", "hardware", "tuned")}
        return cls(**{**fields, **lists, "endpoint": Endpoint(**fields["endpoint"])})


ENGINES = {"llama.cpp": "hutch.engines.llama_cpp", "onnx": "hutch.engines.onnx.worker"}

# Programs that say what an engine can use here. Each prints one line of JSON; what crashes in one crashes alone.
PROBES = {"llama.cpp": "hutch.engines.llama_cpp_devices", "onnx": "hutch.engines.onnx.probe"}


def engine_name(plan: LaunchPlan) -> str:
    """What `ps` calls the engine."""
    if plan.engine == "onnx":
        return plan.runner or "onnxruntime"
    return f"llama-server ({plan.binary})" if plan.binary else "llama.cpp"
