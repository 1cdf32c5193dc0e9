"""Files that are not yet one GGUF file of weights, made into it: shards merged, safetensors converted, numbers quantised.

What takes NumPy is imported only when it is needed. What something else was made of is not kept for its own sake.
"""

import importlib
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hutch.core.errors import BadInput, FormatError
from hutch.core.models import Progress
from hutch.core.names import parse_digest
from hutch.formats import gguf
from hutch.formats.ggml_types import BUILT_IN, FLOATS, known_file_type
from hutch.formats.gguf import GGUF, Tensor
from hutch.formats.gguf_writer import NewGGUF, NewTensor
from hutch.store import room
from hutch.store.blobs import Added, Blobs
from hutch.store.pace import Pace
from hutch.store.partial import Partial
from hutch.store.recipe import Draft, gguf_layer

Files = tuple[tuple[str, str], ...]  # names, and the digests of blobs
_READ_BYTES = 4 << 20
_SHARD = re.compile(r".*-[0-9]{5}-of-[0-9]{5}\.gguf", re.DOTALL | re.IGNORECASE)
_SHARDS_HINT = "Give every file of the model, from -00001-of- to the last."


def prepared(draft: Draft, blobs: Blobs, files: Files) -> Generator[Progress, None, Files]:
    """The files with those of one model in several replaced by one GGUF blob. Raises BadInput or FormatError."""
    is_folder = any(name.endswith(".safetensors") for name, _ in files)
    yield Progress("converting model" if is_folder else "parsing GGUF")
    paths = {name: _blob(blobs, name, digest) for name, digest in files}
    if is_folder:
        module: Any = importlib.import_module("hutch.store.conversion.architectures")
        folder = {name: path for name, path in paths.items() if not name.lower().endswith(".gguf")}
        added = yield from written(blobs, module.converted(folder), "converting model")
        return _replaced(draft, files, set(folder), added)
    shards = {name: path for name, path in paths.items() if _SHARD.fullmatch(name)}
    if len(shards) > 1 or any(gguf.split_count(gguf.read(path)) > 1 for path in shards.values()):
        added = yield from written(blobs, merged(shards), "merging GGUF")
        return _replaced(draft, files, set(shards), added)
    return files


def adapters(draft: Draft, blobs: Blobs, files: Files) -> Generator[Progress, None, Files]:
    """The adapter's files with safetensors replaced by a GGUF blob. Raises BadInput, FormatError or NotBuilt."""
    if not any(name.endswith(".safetensors") for name, _ in files):
        return files
    yield Progress("converting adapter")
    bases = [layer for layer in draft.layers if layer.kind == "model"]
    if len(bases) != 1:
        raise BadInput("an adapter needs a base", hint="Name the model that it was made for in FROM.")
    module: Any = importlib.import_module("hutch.store.conversion.adapter")
    paths = {name.rpartition("/")[2]: _blob(blobs, name, digest) for name, digest in files}
    new = module.converted(paths, gguf.read(blobs.path(bases[0].digest)))
    added = yield from written(blobs, new, "converting adapter")
    return _replaced(draft, files, {name for name, _ in files}, added)


def quantized(
    draft: Draft, blobs: Blobs, wanted: str, kind: str = "model"
) -> Generator[Progress, None, None]:
    """Put the model's weights, or its draft's, in another number format. Raises BadInput where they are quantised already."""
    module: Any = importlib.import_module("hutch.store.quantize")
    type_name = known_file_type(wanted)
    models = [layer for layer in draft.layers if layer.kind == kind]
    if kind == "draft" and not models:
        raise BadInput(
            "--draft-quantize requires a DRAFT model",
            hint="Name one with DRAFT (`draft_files` in a request), or leave it out.",
        )
    if len(models) != 1:
        raise BadInput(f"only a {kind} of one GGUF file can be quantized")
    source = blobs.path(models[0].digest)
    facts = gguf.read(source)
    if facts.file_type not in FLOATS:
        raise BadInput(
            "quantization is only supported for F16, BF16 and F32 models",
            hint=f"This one is {facts.file_type}. Begin with the model as it was published.",
        )
    status = f"quantizing {facts.file_type} {kind} to {type_name}"
    yield Progress(status)
    if type_name in BUILT_IN:
        added = yield from written(blobs, module.requantized(copied(source, facts), type_name), status)
    else:
        added = yield from _by_binary(blobs, source, type_name, status)
    draft.created |= {added.digest, models[0].digest}
    draft.written |= {added.digest} if added.created else set()
    layer = models[0]._replace(digest=added.digest, size_bytes=added.size_bytes, origin="")
    if kind == "model":
        layer = gguf_layer(draft, blobs, added.digest, added.size_bytes)
    draft.layers = [layer if each is models[0] else each for each in draft.layers]


def merged(shards: Mapping[str, Path]) -> NewGGUF:
    """One file of the shards of a model, which are all there. Raises BadInput or FormatError."""
    read = sorted(((gguf.read(path), path) for path in shards.values()), key=lambda each: _number(each[0]))
    first = read[0][0]
    if [_number(facts) for facts, _ in read] != list(range(gguf.split_count(first))) or any(
        gguf.split_count(facts) != len(read) for facts, _ in read
    ):
        raise BadInput(
            f"the model has {gguf.split_count(first)} files, and {len(read)} of them fit together",
            hint=_SHARDS_HINT,
        )
    parts = [copied(path, facts) for facts, path in read]
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise FormatError("a tensor is in two files of the model", hint=_SHARDS_HINT)
    if first.metadata.get("split.tensors.count", len(tensors)) != len(tensors):
        raise FormatError("the model's files do not have as many tensors as they say", hint=_SHARDS_HINT)
    kept = {key: data for key, data in parts[0].entries.items() if not key.startswith("split.")}
    return replace(parts[0], entries=kept, tensors=tensors)


def copied(path: Path, facts: GGUF) -> NewGGUF:
    """A GGUF file to write that is the one at `path`."""
    with gguf.open_regular(path) as file:
        header = file.read(facts.data_start)
    entries = {key: header[start:end] for key, (start, end) in facts.spans.items()}
    tensors = tuple(_copied(path, tensor, facts.data_start) for tensor in facts.tensors)
    return NewGGUF(entries, tensors, facts.metadata.get("general.alignment", gguf.DEFAULT_ALIGNMENT))


def written(blobs: Blobs, new: NewGGUF, status: str) -> Generator[Progress, None, Added]:
    """A blob of the file, written piece by piece."""
    with blobs.incoming() as partial:
        yield from partial.open()
        yield from write(partial, new, status)
        return _taken(blobs, partial)


def _taken(blobs: Blobs, partial: Partial) -> Added:
    is_new = blobs.size_bytes(partial.digest) is None
    return Added(partial.become_blob(), partial.size_bytes, created=is_new)


def write(partial: Partial, new: NewGGUF, status: str) -> Iterator[Progress]:
    """Write the file, telling how far it is. Raises NoRoom."""
    room.ensure(partial.path.parent, new.data_bytes)
    pace = Pace()
    for piece in new.pieces():
        partial.needed_bytes = max(new.data_bytes - partial.size_bytes, 0)
        partial.write(piece)
        if pace.is_due():
            yield Progress(status, total=new.data_bytes, completed=min(partial.size_bytes, new.data_bytes))
    yield Progress(status, total=new.data_bytes, completed=new.data_bytes)


def _by_binary(blobs: Blobs, source: Path, type_name: str, status: str) -> Generator[Progress, None, Added]:
    module: Any = importlib.import_module("hutch.store.quantize")
    total = source.stat().st_size
    with blobs.incoming() as partial:
        yield from partial.open()
        for done_bytes in module.quantize_with_binary(module.binary(), source, partial.path, type_name):
            yield Progress(status, total=total, completed=min(done_bytes, total))
        partial.cut(partial.path.stat().st_size)  # takes up what the tool has written
        return _taken(blobs, partial)


def _replaced(draft: Draft, files: Files, used: set[str], added: Added) -> Files:
    draft.created |= {added.digest, *(digest for name, digest in files if name in used)}
    draft.written |= {added.digest} if added.created else set()
    return (*(each for each in files if each[0] not in used), ("model.gguf", added.digest))


def _blob(blobs: Blobs, name: str, digest: str) -> Path:
    path = blobs.path(parse_digest(digest))
    if not path.is_file():
        raise BadInput(f"{name}: no blob {digest} in the store", hint="Send the file's bytes first.")
    return path


def _number(facts: GGUF) -> int:
    return int(facts.metadata.get("split.no", 0))


def _copied(path: Path, tensor: Tensor, data_start: int) -> NewTensor:
    def pieces() -> Iterator[bytes]:
        with gguf.open_regular(path) as file:
            file.seek(data_start + tensor.offset)
            left = tensor.size_bytes
            while left:
                piece = file.read(min(left, _READ_BYTES))
                if not piece:
                    raise FormatError(f"{path} shrank while it was read", hint="Try again.")
                left -= len(piece)
                yield piece

    return NewTensor(tensor.name, tensor.shape, tensor.type_name, pieces)
