"""ONNX models made within the job's process: by ONNX Runtime GenAI's builder, and by `onnxruntime.quantization`."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hutch.core.errors import BadInput, EngineFailed
from hutch.core.models import Progress
from hutch.formats import genai_config
from hutch.optimize import affine
from hutch.optimize.libraries import needed
from hutch.optimize.variant import TOKENIZER_FILES

_MAX_WORDS = 400


def build(folder: Path, target: Path, precision: str, options: Mapping[str, str]) -> Iterator[Progress]:
    """Make an ONNX folder of a Hugging Face folder with the model builder. Raises EngineFailed with its last words."""
    yield Progress(f"building an ONNX model ({precision})")
    said = [f"{key}={value}" for key, value in {"hf_token": "false", **options}.items()]
    cache = target.with_name(f"{target.name}.cache")
    command = (
        *(sys.executable, "-P", "-m", "onnxruntime_genai.models.builder"),
        *("-i", str(folder), "-o", str(target), "-p", precision, "-e", "cpu", "-c", str(cache)),
        *("--extra_options", *said),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    shutil.rmtree(cache, ignore_errors=True)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise EngineFailed(
            f"the model builder failed: {words[-1][:_MAX_WORDS]}",
            hint="It may not know this architecture; a GGUF variant is still possible (--format gguf).",
        )
    for name in TOKENIZER_FILES:  # the builder writes them anew, and has lost how digits are split
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def dynamic(source: Path, target: Path) -> Iterator[Progress]:
    """Make an ONNX folder whose matrices are 8-bit integers, and whose activations are quantised as they come."""
    quantization = needed("onnxruntime.quantization")
    graph = _begin(source, target)
    yield Progress("quantising to dynamic int8")
    quantization.quantize_dynamic(
        source / graph,
        target / graph,
        op_types_to_quantize=["MatMul"],
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        use_external_data_format=True,
        extra_options={"DefaultTensorType": _float_type(source / graph)},
    )


def _float_type(graph: Path) -> int:
    """The number that ONNX has for what most weights are in. The quantiser cannot infer it past operators outside ONNX."""
    onnx = needed("onnx")
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    tensors = onnx.load(graph, load_external_data=False).graph.initializer
    found = Counter(each.data_type for each in tensors if each.data_type in floats)
    return int(found.most_common(1)[0][0]) if found else int(onnx.TensorProto.FLOAT)


def affine_blocks(source: Path, target: Path) -> Iterator[Progress]:
    """Make an ONNX folder whose matrices are 4-bit blocks with a scale and a least value each, see hutch.optimize.affine."""
    graph = _begin(source, target)
    yield from affine.quantize(source / graph, target / graph)


def blocks(source: Path, target: Path, bits: int, options: Mapping[str, Any]) -> Iterator[Progress]:
    """Make an ONNX folder whose matrices are integers of 4 or 8 bits in blocks, of one whose matrices are floats."""
    onnx, quantizers = needed("onnx"), needed("onnxruntime.quantization.matmul_nbits_quantizer")
    graph = _begin(source, target)
    yield Progress(f"quantising to int{bits} in blocks of {options['block_size']}")
    quantizer = quantizers.MatMulNBitsQuantizer(
        onnx.load(source / graph),
        block_size=int(options["block_size"]),
        is_symmetric=bool(options.get("is_symmetric", True)),
        accuracy_level=4,
        bits=bits,
    )
    quantizer.process()
    quantizer.model.save_model_to_file(str(target / graph), use_external_data_format=True)


def optimized(source: Path, target: Path) -> Iterator[Progress]:
    """Make an ONNX folder whose graph ONNX Runtime has optimised beforehand, as far as that holds for other processors."""
    runtime = needed("onnxruntime")
    graph = _begin(source, target)
    yield Progress("optimising the graph")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target / graph)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", f"{graph}.data"
    )
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
    )
    runtime.InferenceSession(str(source / graph), options, providers=["CPUExecutionProvider"])


def is_float(source: Path) -> bool:
    """Whether the matrices of an ONNX folder's graph are still floats, so that they can be quantised."""
    onnx = needed("onnx")
    model = onnx.load(source / _graph(source), load_external_data=False)
    return not any(
        node.op_type in ("MatMulNBits", "MatMulInteger", "DequantizeLinear") for node in model.graph.node
    )


def _begin(source: Path, target: Path) -> str:
    """Copy everything but the graph and its weights, and return the graph's name."""
    graph = _graph(source)
    target.mkdir(parents=True)
    weights = _external(source / graph)
    for file in source.iterdir():
        if file.is_file() and file.name not in {graph, *weights}:
            shutil.copyfile(file, target / file.name)
    return graph


def _graph(folder: Path) -> str:
    decoder = genai_config.read(folder / genai_config.NAME).decoder
    if decoder is None:
        raise BadInput(f"{folder.name} has no decoder, so that it writes no text")
    return decoder.filename


def _external(path: Path) -> set[str]:
    onnx = needed("onnx")
    model = onnx.load(path, load_external_data=False)
    return {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
