"""What a FROM that is a folder, or one file of several, stands for: the files of one model."""

import re
from collections.abc import Sequence
from pathlib import Path

from hutch.core.errors import BadInput
from hutch.store import onnx_folder

_WEIGHTS = ("model*.safetensors", "consolidated*.safetensors", "*.gguf")  # the first that there are
_BESIDE = ("*.json", "*/config.json", "chat_template.jinja", "tokenizer.model")
_ADAPTER = ("adapter_model.safetensors", "*.gguf")
_BESIDE_ADAPTER = ("adapter_config.json",)
_SHARD = re.compile(r"(.*-)[0-9]{5}(-of-)([0-9]{5})(\.gguf)", re.IGNORECASE | re.DOTALL)
_MAX_SHARDS = 10_000


def files_of(path: Path) -> dict[str, Path]:
    """The files that a path stands for, by their names in the model's folder. Raises BadInput."""
    if path.is_dir():
        return _in_folder(path, _WEIGHTS, _BESIDE)
    shard = _SHARD.fullmatch(path.name)
    if shard is None or not 1 < (count := int(shard[3])) <= _MAX_SHARDS:
        return {path.name: path}
    names = [f"{shard[1]}{number:05}{shard[2]}{shard[3]}{shard[4]}" for number in range(1, count + 1)]
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise BadInput(
            f"{path.name} is one of {count} files, and {missing[0]} is not beside it",
            hint="Put all of them into one folder.",
        )
    return {name: path.parent / name for name in names}


def adapter_of(path: Path) -> dict[str, Path]:
    """The files of the adapter in a folder. Raises BadInput."""
    return _in_folder(path, _ADAPTER, _BESIDE_ADAPTER)


def _in_folder(folder: Path, patterns: Sequence[str], patterns_beside: Sequence[str]) -> dict[str, Path]:
    if patterns is _WEIGHTS and onnx_folder.is_one(folder):
        return onnx_folder.files_in(folder)
    weights = next((found for pattern in patterns if (found := _matches(folder, pattern))), None)
    if weights is None:
        raise BadInput(
            f"{folder} has no *.safetensors, *.gguf or *.onnx",
            hint="Weights in pickles are not read, which can run code: convert them to safetensors."
            if _matches(folder, "*.bin") or _matches(folder, "*.pth")
            else "Name a folder that holds a model's weights.",
        )
    is_gguf = weights[0].suffix.lower() == ".gguf"
    beside = [] if is_gguf else [file for pattern in patterns_beside for file in _matches(folder, pattern)]
    return {file.relative_to(folder).as_posix(): file for file in (*weights, *beside)}


def _matches(folder: Path, pattern: str) -> list[Path]:
    """The files that match. Raises BadInput where one is a link that leads out of the folder."""
    root = folder.resolve()
    found = [file for file in sorted(folder.glob(pattern)) if file.is_file()]
    for file in found:
        if not file.resolve().is_relative_to(root):
            raise BadInput(
                f"insecure path: {file.relative_to(folder)} leads out of {folder}",
                hint="Copy the file into the folder in place of the link.",
            )
    return found
