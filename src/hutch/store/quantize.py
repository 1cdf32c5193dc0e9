"""Weights into another number format: the plain ones by ourselves, the others by llama.cpp's llama-quantize."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hutch import config, places
from hutch.core.errors import BadInput, EngineFailed, NotBuilt
from hutch.formats import ggml_numbers
from hutch.formats.ggml_types import BUILT_IN, FLOATS, TENSOR_TYPES
from hutch.formats.gguf_writer import FILE_TYPE_IDS, TYPE_IDS, NewGGUF, NewTensor, entry
from hutch.store import installed

_LOOK_EVERY_S = 0.2
# What llama.cpp's own tool leaves alone: small, and every number of it counts.
_LEFT_ALONE = (
    "position_embd.",
    "token_types.",
    "ffn_gate_inp",
    "attn_rel_b",
    "ssm_conv1d",
    "rope_freqs",
    "time_mix_",
)


def requantized(source: NewGGUF, type_name: str) -> NewGGUF:
    """The same model with its matrices in one of BUILT_IN. Vectors, norms and tables of positions stay as they are."""
    tensors = tuple(_tensor(tensor, type_name) for tensor in source.tensors)
    said = {"general.file_type": entry("general.file_type", FILE_TYPE_IDS[type_name])}
    if type_name not in FLOATS:
        said["general.quantization_version"] = entry("general.quantization_version", 2)
    return replace(source, entries={**source.entries, **said}, tensors=tensors)


def binary() -> Path | None:
    """The llama-quantize that the settings name, or that of an engine: first the one in use, then any that was built."""
    settings = config.load()
    known = installed.engines(places.engines(), settings.llama_server)
    servers = [Path(engine.path) for engine in sorted(known, key=lambda each: not each.in_use) if engine.path]
    beside = [server.with_name(f"llama-quantize{server.suffix}") for server in servers]
    candidates = (settings.llama_quantize, *beside)
    return next((path for path in candidates if path is not None and path.is_file()), None)


def quantize_with_binary(
    llama_quantize: Path | None, source: Path, target: Path, type_name: str
) -> Iterator[int]:
    """Write `target` with llama.cpp's tool, yielding its bytes so far. Raises NotBuilt where there is no such tool."""
    if llama_quantize is None:
        raise NotBuilt(
            f"quantization to {type_name} needs llama.cpp's llama-quantize, which is not here",
            hint=f"Build it with `hutch engine build`, or name it with HUTCH_LLAMA_QUANTIZE. Built in: {', '.join(BUILT_IN)}.",
        )
    command = [str(llama_quantize), str(source), str(target), type_name]
    try:
        process = subprocess.Popen(
            command,
            env=places.worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as problem:
        raise BadInput(f"{llama_quantize} cannot be run: {problem.strerror}") from problem
    try:
        while True:
            try:
                status = process.wait(_LOOK_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                yield target.stat().st_size if target.exists() else 0
    finally:
        process.kill()
        process.wait()
    if status:
        raise EngineFailed(
            f"llama-quantize ended with status {status}", hint=f"Run {' '.join(command)} to see why."
        )


def _tensor(tensor: NewTensor, type_name: str) -> NewTensor:
    target = _target(tensor, type_name)
    if target == tensor.type_name:
        return tensor

    def pieces() -> Iterator[bytes]:
        decode, encode = ggml_numbers.decode, ggml_numbers.encode
        return (encode(target, decode(tensor.type_name, piece)) for piece in tensor.pieces())

    return replace(tensor, type_name=target, pieces=pieces)


def _target(tensor: NewTensor, type_name: str) -> str:
    is_matrix = len(tensor.shape) > 1 and tensor.name.endswith("weight") and "norm" not in tensor.name
    if tensor.type_name not in FLOATS or not is_matrix or tensor.name.startswith("v."):
        return tensor.type_name
    if any(part in tensor.name for part in _LEFT_ALONE):
        return tensor.type_name
    if type_name == "Q4_0" and tensor.name in ("output.weight", "token_embd.weight"):
        type_name = "Q8_0"  # the words' own table: four bits are too few for it
    if tensor.shape[0] % TENSOR_TYPES[TYPE_IDS[type_name]].block_size:
        return "F16"
    return type_name
