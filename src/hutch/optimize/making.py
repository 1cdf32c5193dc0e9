"""The workshop of a search: what was made of a source, in one folder, each thing whole or not there."""

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hutch.core.errors import EngineFailed
from hutch.core.models import Model, Progress
from hutch.core.names import ModelName
from hutch.formats import gguf
from hutch.formats.ggml_types import BUILT_IN
from hutch.optimize import process, source
from hutch.optimize.recipes import FUSED, Recipe
from hutch.optimize.records import digest
from hutch.optimize.source import Source
from hutch.store import quantize, room, weights
from hutch.store.blobs import exhaust
from hutch.store.recipe import Recipe as StoreRecipe
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog

_READ_BYTES = 4 << 20
_MB = 10**6
_SCRATCH = ModelName.parse("candidate")
_GGUF = "model.gguf"
Steps = Generator[Progress, None, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """A variant's files by their names in a model's folder. `format` is gguf, onnx, or folder."""

    format: str
    files: Mapping[str, Path]

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return sum(path.stat().st_size for path in self.files.values())


class Workshop:
    """Makes variants of one source below `root`, and keeps what it has made until it is cleaned."""

    def __init__(self, root: Path, origin: Source) -> None:
        self._root, self._source = root, origin
        self._log = root.parent.parent / "job.log"

    def clean(self) -> None:
        """Remove everything that was made."""
        shutil.rmtree(self._root, ignore_errors=True)

    def folder(self) -> Generator[Progress, None, Path]:
        """The source as one folder: of floats, or of an ONNX model."""
        return (yield from (self._onnx_source() if self._source.kind == "onnx" else self._floats()))

    def is_float(self) -> Steps:
        """Whether an ONNX source can be quantised."""
        found = yield from process.run("is_float", self._log, source=(yield from self._onnx_source()))
        return bool(found["is_float"])

    def made(self, recipe: Recipe) -> Generator[Progress, None, Made]:
        """A variant, made now where it has not been."""
        target = self._root / "made" / digest(recipe.spec)[:16]
        if recipe.how == "ggml":
            yield from self._once(target, lambda partial: self._quantised(partial, recipe))
        else:
            yield from self._once(target, lambda partial: self._graph(partial, recipe))
        return Made(recipe.format, _files(target))

    def accuracy(self, made: Made, texts: Sequence[str]) -> Generator[Progress, None, Mapping[str, Any]]:
        """How far a variant is from the source on these texts."""
        reference, ids = yield from self._reference(texts)
        folder = next(iter(made.files.values())).parent
        if made.format == "onnx":
            return (
                yield from process.run(
                    "accuracy", self._log, kind="onnx", source=folder, ids=ids, reference=reference
                )
            )
        floats = (
            self._root / "candidate-floats"
        )  # what its numbers stand for; see docs/adr/0015-accuracy-gate.md
        shutil.rmtree(floats, ignore_errors=True)
        try:
            yield from process.run("folder", self._log, source=made.files[_GGUF], target=floats)
            return (
                yield from process.run(
                    "accuracy", self._log, kind="torch", source=floats, ids=ids, reference=reference
                )
            )
        finally:
            shutil.rmtree(floats, ignore_errors=True)

    def stored(self, made: Made) -> Generator[Progress, None, tuple[ModelStore, ModelName]]:
        """The variant in a store of the workshop's own, to be loaded from."""
        store = ModelStore(self._root / "store", lambda: Catalog({}))
        yield Progress("laying the candidate out")
        exhaust(put(store, _SCRATCH, made, None))
        return store, _SCRATCH

    def _reference(self, texts: Sequence[str]) -> Generator[Progress, None, tuple[Path, list[list[int]]]]:
        target = self._root / f"reference-{digest(list(texts))[:16]}.npy"
        known = target.with_suffix(".json")
        if not known.is_file():
            self._root.mkdir(parents=True, exist_ok=True)
            given = self._root / "texts.json"
            given.write_text(json.dumps(list(texts), ensure_ascii=False), encoding="utf-8")
            is_onnx = self._source.kind == "onnx"
            folder = (yield from self._onnx_source()) if is_onnx else (yield from self._floats())
            kind = "onnx" if is_onnx else "torch"
            found = yield from process.run(
                "reference", self._log, kind=kind, source=folder, texts=given, target=target
            )
            _replace_text(known, json.dumps(found["ids"]))
        ids: list[list[int]] = json.loads(known.read_text(encoding="utf-8"))
        return target, ids

    def _floats(self) -> Generator[Progress, None, Path]:
        """The source as a Hugging Face folder of floats."""
        if self._source.kind == "folder":
            return next(iter(self._source.files.values())).parent
        target = self._root / "floats"
        path = self._source.files[_GGUF]
        room.ensure(self._root.parent, 4 * gguf.read(path).parameter_count)
        yield from self._once(
            target, lambda partial: process.run("folder", self._log, source=path, target=partial)
        )
        return target

    def _onnx_source(self) -> Generator[Progress, None, Path]:
        """The source's files under their own names in one folder, as links."""
        target = self._root / "source"
        yield from self._once(target, self._linked)
        return target

    def _linked(self, partial: Path) -> Iterator[Progress]:
        yield Progress("laying the model out")
        for name, path in self._source.files.items():
            place = partial / name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except OSError:  # another disk
                shutil.copyfile(path, place)

    def _graph(self, partial: Path, recipe: Recipe) -> Steps:
        options = dict(recipe.options)
        if recipe.how == "build":
            folder = yield from self._floats()
            return (
                yield from process.run(
                    "build",
                    self._log,
                    source=folder,
                    target=partial,
                    precision=recipe.quant.partition("-")[0],
                    options=options,
                )
            )
        if self._source.kind == "onnx":
            folder = yield from self._onnx_source()
        else:
            folder = self._root / "float-graph"
            floats = yield from self._floats()
            yield from self._once(folder, lambda fresh: self._float_graph(floats, fresh))
        more = {"bits": int(options.pop("bits")), "options": options} if recipe.how == "blocks" else {}
        return (yield from process.run(recipe.how, self._log, source=folder, target=partial, **more))

    def _float_graph(self, floats: Path, fresh: Path) -> Steps:
        said = dict(FUSED)
        return process.run("build", self._log, source=floats, target=fresh, precision="fp32", options=said)

    def _quantised(self, partial: Path, recipe: Recipe) -> Iterator[Progress]:
        partial.mkdir(parents=True)
        floats, type_name = self._root / "floats.gguf", recipe.quant.upper()
        if self._source.kind != "gguf":
            raise EngineFailed(
                "a GGUF variant is made of a GGUF model",
                hint="Create a model of the folder first: hutch create NAME with FROM the folder.",
            )
        if not floats.is_file():
            fresh = floats.with_suffix(".partial")
            self._root.mkdir(parents=True, exist_ok=True)
            yield from process.run("float_gguf", self._log, source=self._source.files[_GGUF], target=fresh)
            fresh.replace(floats)
        target = partial / _GGUF
        status = f"quantising to {type_name}"
        if type_name in BUILT_IN:
            new = quantize.requantized(weights.copied(floats, gguf.read(floats)), type_name)
            room.ensure(partial, new.data_bytes)
            done_bytes = 0
            with target.open("wb") as file:
                for piece in new.pieces():
                    done_bytes += file.write(piece)
                    yield Progress(f"{status} (MB)", total=new.data_bytes // _MB, completed=done_bytes // _MB)
            return
        for _ in quantize.quantize_with_binary(quantize.binary(), floats, target, type_name):
            yield Progress(status)

    def _once(self, target: Path, make: Callable[[Path], Iterator[Progress]]) -> Iterator[Progress]:
        """Have a folder made under another name first, so that what was broken off is never taken for whole."""
        if target.is_dir():
            return
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        yield from make(partial)
        partial.replace(target)


def put(store: ModelStore, name: ModelName, made: Made, base: ModelName | None) -> Iterator[Progress]:
    """Give a variant a name in a store; what its base says beside the weights, it says too."""
    sent = []
    for file, path in made.files.items():
        blob = source.file_digest(path)
        if not store.has_blob(blob):
            store.import_blob(_chunks(path), blob)
        sent.append((file, blob))
    recipe = StoreRecipe(files=tuple(sent))
    return store.create(name, recipe if base is None else _as_said(recipe, store.open(base)))


def _as_said(recipe: StoreRecipe, base: Model) -> StoreRecipe:
    return replace(
        recipe,
        template=base.template,
        system=base.system,
        parameters=base.parameters,
        messages=base.messages,
        licenses=base.licenses,
        documents=tuple((each.name, each.path.name.replace("-", ":", 1)) for each in base.documents),
        renderer=base.renderer or None,
        parser=base.parser or None,
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _replace_text(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
