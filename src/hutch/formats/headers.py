"""Headers of model files that were read and checked once, and are remembered while the files stay what they are."""

import threading
from array import array
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from hutch.core.models import Model, ModelFile
from hutch.formats import gguf, onnx_model
from hutch.formats.gguf import GGUF
from hutch.formats.onnx_model import OnnxModel

_LONGEST_ARRAY = 1024  # a list for each layer is kept; a vocabulary, of which nobody asks a server, is not
_one_at_a_time = threading.Lock()  # a vocabulary takes tens of MiB while it is checked


def header(path: Path) -> GGUF:
    """The file's header without its long arrays, which stand there empty. Raises FormatError as `gguf.read` does."""
    try:
        info = path.stat()
    except OSError:
        return gguf.read(path)  # which says what is wrong with it
    return _header(path, info.st_ino, info.st_mtime_ns, info.st_size)


def facts(model: Model) -> GGUF | OnnxModel:
    """What the files of an opened model say. Raises FormatError."""
    return folder(model.files) if model.files else header(model.weights[0])


def folder(files: tuple[ModelFile, ...]) -> OnnxModel:
    """What a folder of ONNX files says, without its graphs. Raises FormatError as `onnx_model.read` does."""
    try:
        infos = [path.stat() for _, path in files]
    except OSError:
        return onnx_model.read(dict(files))  # which says what is wrong with it
    return _folder(files, *((info.st_ino, info.st_mtime_ns, info.st_size) for info in infos))


@lru_cache(maxsize=64)
def _folder(files: tuple[ModelFile, ...], *stamps: tuple[int, ...]) -> OnnxModel:  # noqa: ARG001  # for the cache
    with _one_at_a_time:
        return replace(onnx_model.read(dict(files)), graphs={})


@lru_cache(maxsize=64)
def _header(path: Path, *stamp: int) -> GGUF:  # noqa: ARG001  # the stamp is for the cache
    with _one_at_a_time:
        facts = gguf.read(path)
    kept = {
        key: () if isinstance(value, tuple | array) and len(value) > _LONGEST_ARRAY else value
        for key, value in facts.metadata.items()
    }
    return replace(facts, metadata=kept)
