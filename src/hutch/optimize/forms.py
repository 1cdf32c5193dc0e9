"""A source in the forms that variants are made of, each made once in a folder, whole or not there."""

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from hutch.core.models import Progress
from hutch.formats import gguf
from hutch.optimize import process
from hutch.optimize.recipes import FUSED
from hutch.optimize.source import Source
from hutch.optimize.variant import GGUF_NAME
from hutch.store import room
from hutch.store.conversion import architectures

Told = Generator[Progress, None, Path]


class Forms:
    """The forms of one source below `root`. What a step's process says goes to `log`."""

    def __init__(self, root: Path, source: Source, log: Path) -> None:
        self._root, self._source, self._log = root, source, log

    def folder(self) -> Told:
        """One folder for whoever reads either kind: of floats, or of an ONNX model."""
        return (yield from (self.onnx() if self._source.kind == "onnx" else self.floats()))

    def floats(self) -> Told:
        """A Hugging Face folder of floats."""
        if self._source.kind == "folder":
            return next(iter(self._source.files.values())).parent
        target = self._root / "floats"
        path = self._source.files[GGUF_NAME]
        self._root.mkdir(parents=True, exist_ok=True)
        room.ensure(self._root, 4 * gguf.read(path).parameter_count)
        yield from once(target, lambda partial: process.run("folder", self._log, source=path, target=partial))
        return target

    def graph(self) -> Told:
        """An ONNX folder: the source's own, or one of floats."""
        if self._source.kind == "onnx":
            return (yield from self.onnx())
        target = self._root / "float-graph"
        floats = yield from self.floats()
        said = {"precision": "fp32", "options": dict(FUSED)}
        yield from once(
            target, lambda partial: process.run("build", self._log, source=floats, target=partial, **said)
        )
        return target

    def onnx(self) -> Told:
        """The source's files under their own names in one folder."""
        target = self._root / "source"
        yield from once(target, self._copied)
        return target

    def gguf(self) -> Told:
        """A GGUF file of floats. Raises NotBuilt for an architecture that Hutch cannot write as GGUF."""
        target = self._root / "floats.gguf"
        if not target.is_file():
            partial = target.with_suffix(".partial")
            self._root.mkdir(parents=True, exist_ok=True)
            if self._source.kind == "gguf":
                path = self._source.files[GGUF_NAME]
                room.ensure(self._root, 4 * gguf.read(path).parameter_count)
                yield from process.run("float_gguf", self._log, source=path, target=partial)
            else:
                yield from self._converted(partial)
            partial.replace(target)
        return target

    def _converted(self, partial: Path) -> Iterator[Progress]:
        new = architectures.converted(self._source.files)
        room.ensure(self._root, new.data_bytes)
        yield Progress("converting to GGUF")
        with partial.open("wb") as file:
            for piece in new.pieces():
                file.write(piece)

    def _copied(self, partial: Path) -> Iterator[Progress]:
        yield Progress("laying the model out")
        self._root.mkdir(parents=True, exist_ok=True)
        room.ensure(self._root, self._source.size_bytes)
        for name, path in self._source.files.items():
            place = partial / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)  # no link: the library onnx refuses weights of several names


def once(target: Path, make: Callable[[Path], Iterator[Progress]]) -> Iterator[Progress]:
    """Have a folder made under another name first, so that what was broken off is never taken for whole."""
    if target.is_dir():
        return
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    yield from make(partial)
    partial.replace(target)
