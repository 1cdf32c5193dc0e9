"""What is optimised: a model of the store, a Hugging Face folder, an ONNX folder, or a GGUF file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hutch.core.errors import BadInput, NotBuilt
from hutch.core.names import ModelName
from hutch.formats import gguf
from hutch.store import onnx_folder
from hutch.store.store import ModelStore

Kind = Literal["gguf", "folder", "onnx"]
_GENAI = "genai_config.json"


@dataclass(frozen=True, slots=True)
class Source:
    """A model to begin with. `digest` is of its weights; `name` is None for what is not in the store."""

    label: str
    kind: Kind
    digest: str
    files: Mapping[str, Path]
    name: ModelName | None = None

    @property
    def size_bytes(self) -> int:
        """What its files take."""
        return sum(path.stat().st_size for path in self.files.values())


def find(text: str, store: ModelStore) -> Source:
    """The source that a person names: a path where it looks like one, else a model. Raises NotFound or BadInput."""
    path = Path(text).expanduser()
    if text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.lower().endswith(".gguf"):
        return _of_path(text, path.absolute())
    model = store.open(ModelName.parse(text))
    if model.adapters or model.projectors:
        raise NotBuilt(
            "a model with an adapter or a projector cannot be optimised yet",
            hint="Optimise the model without it.",
        )
    name = model.stored.name
    if model.files:
        found = {each.name: each.path for each in model.files}
        return Source(name.short, "onnx", _names_digest(found), found, name)
    if len(model.weights) != 1:
        raise BadInput(f"{name.short} has {len(model.weights)} files of weights, and one is needed")
    return _of_gguf(name.short, model.weights[0], name)


def _of_path(text: str, path: Path) -> Source:
    if path.is_file() and path.suffix.lower() == ".gguf":
        return _of_gguf(text, path, None)
    if not path.is_dir():
        raise BadInput(f"there is no folder {path}", hint="Name a model, a folder or a GGUF file.")
    found = {file.name: file for file in sorted(path.iterdir()) if file.is_file()}
    if _GENAI in found:
        kept = onnx_folder.files_in(path)  # checked: what is opened later may not lead out of it
        return Source(text, "onnx", _content_digest(kept), kept)
    if not any(name.endswith(".safetensors") for name in found):
        raise BadInput(
            f"{path} is no model: it has neither *.safetensors nor {_GENAI}", hint="Name the model's folder."
        )
    for needed in ("config.json", "tokenizer.json"):
        if needed not in found:
            raise BadInput(f"{path} has no {needed}", hint="Name a folder as Hugging Face has it.")
    return Source(text, "folder", _content_digest(found), found)


def _of_gguf(label: str, path: Path, name: ModelName | None) -> Source:
    facts = gguf.read(path)
    if facts.is_embedding:
        raise BadInput(
            f"{label} makes vectors and no text: there is nothing to compare", hint="Name another model."
        )
    files = {"model.gguf": path}
    return Source(label, "gguf", _names_digest(files) if name else _content_digest(files), files, name)


def _names_digest(files: Mapping[str, Path]) -> str:
    """Of the store's blobs, whose names are the digests of their bytes."""
    return _digest({name: path.name for name, path in files.items()})


def _content_digest(files: Mapping[str, Path]) -> str:
    return _digest({name: file_digest(path) for name, path in files.items()})


def _digest(named: Mapping[str, str]) -> str:
    lines = "".join(f"{name}\0{value}\n" for name, value in sorted(named.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, as the store names it."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
