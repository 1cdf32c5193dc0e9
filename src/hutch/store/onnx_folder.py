"""An ONNX model in the store: the files of a folder taken in as layers, one for each."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from hutch.core.errors import BadInput
from hutch.core.names import parse_digest
from hutch.formats import genai_config, onnx_model
from hutch.store.blobs import Blobs
from hutch.store.manifests import ONNX_TYPE, Layer
from hutch.store.recipe import Draft

_LOOKED_FOR = (genai_config.NAME, "*.onnx", "onnx/*.onnx", "*.safetensors", "*.gguf")
_MAX_ENTRIES = 100_000
Files = Sequence[tuple[str, str]]  # names, and the digests of blobs


def is_meant(names: Iterable[str]) -> bool:
    """Whether files of these names are a folder of ONNX, and not GGUF or safetensors."""
    known = {PurePosixPath(name).name for name in names}
    others = any(name.endswith((".safetensors", ".gguf")) for name in known)
    return genai_config.NAME in known or (onnx_model.is_folder(known) and not others)


def take(draft: Draft, blobs: Blobs, files: Files) -> None:
    """Make layers of a folder's files. What no runtime reads is left out. Raises FormatError or BadInput."""
    digests = {name: parse_digest(digest) for name, digest in _from_its_root(files)}
    for name, digest in digests.items():
        if blobs.size_bytes(digest) is None:
            raise BadInput(f"{name}: no blob {digest} in the store", hint="Send the file's bytes first.")
    draft.created.update(digests.values())  # what the model does not need goes with the job
    found = onnx_model.read({name: blobs.path(digest) for name, digest in digests.items()})
    if any(layer.kind in ("model", ONNX_TYPE) for layer in draft.layers):
        raise BadInput("a model has one base", hint="Leave FROM a model out, or the files.")
    draft.layers += [
        Layer(ONNX_TYPE, digests[name], blobs.size_bytes(digests[name]) or 0, name=name)
        for name in found.names
    ]
    draft.said |= {
        "model_format": "onnx",
        "model_family": found.architecture,
        "model_families": [found.architecture],
        "model_type": found.parameter_size,
        "file_type": found.file_type,
    }


def _from_its_root(files: Files) -> Files:
    """The files by their names in the folder of genai_config.json, where that lies in a folder itself."""
    roots = [PurePosixPath(name).parent for name, _ in files if PurePosixPath(name).name == genai_config.NAME]
    root = min(roots, key=lambda path: len(path.parts), default=PurePosixPath())
    if root == PurePosixPath():
        return files
    inside = [(PurePosixPath(name), digest) for name, digest in files]
    return [(str(path.relative_to(root)), digest) for path, digest in inside if path.is_relative_to(root)]


def is_one(folder: Path) -> bool:
    """Whether a folder is meant to be a model in ONNX."""
    found = [path.name for pattern in _LOOKED_FOR for path in folder.glob(pattern)]
    return is_meant(found)


def files_in(folder: Path) -> dict[str, Path]:
    """Those files of a folder that a model needs, checked. Raises BadInput for a folder that is no model in ONNX."""
    root = folder.resolve()
    found = itertools.islice(folder.rglob("*"), _MAX_ENTRIES)
    files = {path.relative_to(folder).as_posix(): path for path in found if path.is_file()}
    kept = {name: files[name] for name in onnx_model.read(files).names}
    for name, path in kept.items():
        if not path.resolve().is_relative_to(root):
            raise BadInput(
                f"insecure path: {name} leads out of {folder}",
                hint="Copy the file into the folder in place of the link.",
            )
    return kept
