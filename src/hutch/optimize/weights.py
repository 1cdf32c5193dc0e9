"""Weights of a GGUF file in another form, within the job's process: a Hugging Face folder, or a GGUF file of floats.

What was quantised is dequantised, so that nothing is lost that the file still has.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hutch.core.errors import NotBuilt
from hutch.core.models import Progress
from hutch.formats import gguf
from hutch.formats.ggml_types import FLOATS
from hutch.formats.gguf import GGUF, Tensor
from hutch.formats.gguf_writer import FILE_TYPE_IDS, NewGGUF, NewTensor, entry
from hutch.optimize.libraries import needed
from hutch.optimize.tokenizer import is_byte_level, tokenizer_config, tokenizer_document

_MB = 10**6
_HINT = "Begin with the model's folder from Hugging Face."


def folder(source: Path, target: Path) -> Iterator[Progress]:
    """Write the model of a GGUF file as a Hugging Face folder of 32-bit floats. Raises NotBuilt for an unknown architecture."""
    torch, transformers = needed("torch"), needed("transformers")
    facts = gguf.read(source)
    yield Progress(f"reading {facts.file_type} weights")
    try:
        read = transformers.AutoModelForCausalLM.from_pretrained(
            str(source.parent), gguf_file=source.name, dtype=torch.float32, local_files_only=True
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise NotBuilt(
            f"weights of the architecture {facts.architecture} cannot be converted: {str(error)[:200]}",
            hint=_HINT,
        ) from error
    yield Progress("writing float weights")
    config = read.config
    if hasattr(config, "quantization_config"):  # else what reads the folder takes it for quantised
        delattr(config, "quantization_config")
    plain = type(read)(config)
    plain.load_state_dict(read.state_dict())
    plain.tie_weights()
    plain.save_pretrained(target)
    _write_tokenizer(facts.metadata, source, target)


def _write_tokenizer(metadata: Mapping[str, Any], source: Path, target: Path) -> None:
    if is_byte_level(metadata):
        document = tokenizer_document(metadata)
        (target / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    else:
        transformers = needed("transformers")
        read = transformers.AutoTokenizer.from_pretrained(
            str(source.parent), gguf_file=source.name, local_files_only=True
        )
        read.backend_tokenizer.save(str(target / "tokenizer.json"))
    said = tokenizer_config(metadata)
    (target / "tokenizer_config.json").write_text(
        json.dumps(said, ensure_ascii=False, indent=1), encoding="utf-8"
    )
    if template := said.get("chat_template"):
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")


def float_gguf(source: Path, target: Path) -> Iterator[Progress]:
    """Write a GGUF file with every quantised tensor as 32-bit floats."""
    facts = gguf.read(source)
    with gguf.open_regular(source) as file:
        header = file.read(facts.data_start)
    entries = {key: header[start:end] for key, (start, end) in facts.spans.items()}
    entries["general.file_type"] = entry("general.file_type", FILE_TYPE_IDS["F32"])
    tensors = tuple(_float_tensor(source, facts, tensor) for tensor in facts.tensors)
    new = replace(
        NewGGUF(entries, tensors), alignment=facts.metadata.get("general.alignment", gguf.DEFAULT_ALIGNMENT)
    )
    done_bytes = 0
    with target.open("wb") as output:
        for piece in new.pieces():
            output.write(piece)
            done_bytes += len(piece)
            yield Progress(
                "writing float weights (MB)", total=new.data_bytes // _MB, completed=done_bytes // _MB
            )


def _float_tensor(source: Path, facts: GGUF, tensor: Tensor) -> NewTensor:
    is_quantised = tensor.type_name not in (*FLOATS, "F64", "I8", "I16", "I32", "I64")

    def pieces() -> Iterator[bytes]:
        library = needed("gguf")
        numpy = needed("numpy")
        with gguf.open_regular(source) as file:
            file.seek(facts.data_start + tensor.offset)
            data = file.read(tensor.size_bytes)
        if not is_quantised:
            yield data
            return
        rows = numpy.frombuffer(data, numpy.uint8).reshape(tensor.size_bytes // _row_bytes(tensor), -1)
        kind = library.GGMLQuantizationType[tensor.type_name]
        yield library.quants.dequantize(rows, kind).astype("<f4").tobytes()

    return NewTensor(tensor.name, tensor.shape, "F32" if is_quantised else tensor.type_name, pieces)


def _row_bytes(tensor: Tensor) -> int:
    num_rows = 1
    for size in tensor.shape[1:]:
        num_rows *= size
    return tensor.size_bytes // num_rows
