"""The workshop of a search: variants made of a source and compared with it, in one folder."""

import json
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hutch.core.errors import Conflict
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.formats import gguf
from hutch.formats.ggml_types import BUILT_IN
from hutch.optimize import process
from hutch.optimize.forms import Forms, once
from hutch.optimize.recipes import Recipe
from hutch.optimize.records import digest
from hutch.optimize.source import Source
from hutch.optimize.variant import GGUF_NAME, Variant, in_folder, put
from hutch.store import quantize, room, weights
from hutch.store.blobs import exhaust
from hutch.store.lock import Lock
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog

_SCRATCH = ModelName.parse("candidate")
_MB = 10**6
Steps = Generator[Progress, None, Any]


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep other processes out of the workshops below `root`. Raises Conflict where one is at work."""
    root.mkdir(parents=True, exist_ok=True)
    with Lock(root, "search") as lock:
        if not lock.try_acquire():
            raise Conflict("another process is optimising a model", hint="Wait until it is done, or end it.")
        yield


class Workshop:
    """Makes variants of one source below `root`, and keeps what it has made until it is cleaned."""

    def __init__(self, root: Path, source: Source, log: Path) -> None:
        self._root, self._source, self._log = root, source, log
        self.forms = Forms(root, source, log)

    def clean(self) -> None:
        """Remove everything that was made."""
        shutil.rmtree(self._root, ignore_errors=True)

    def is_float(self) -> Steps:
        """Whether an ONNX source can be quantised."""
        found = yield from process.run("is_float", self._log, source=(yield from self.forms.onnx()))
        return bool(found["is_float"])

    def made(self, recipe: Recipe) -> Generator[Progress, None, Variant]:
        """A variant, made now where it has not been."""
        target = self._place(recipe)
        make = self._quantised if recipe.how == "ggml" else self._graph
        yield from once(target, lambda partial: make(partial, recipe))
        return in_folder(recipe.format, target)

    def forget(self, recipe: Recipe) -> None:
        """Remove a variant that was made. It is made again where it is asked for."""
        shutil.rmtree(self._place(recipe), ignore_errors=True)

    def accuracy(
        self, variant: Variant, texts: Sequence[str]
    ) -> Generator[Progress, None, Mapping[str, Any]]:
        """How far a variant is from the source on these texts."""
        reference, ids = yield from self._reference(texts)
        said = {"ids": ids, "reference": reference}
        if variant.format == "onnx":
            folder = next(path.parent for name, path in variant.files.items() if "/" not in name)
            return (yield from process.run("accuracy", self._log, kind="onnx", source=folder, **said))
        floats = (
            self._root / "candidate-floats"
        )  # what its numbers stand for; see docs/adr/0016-accuracy-gate.md
        shutil.rmtree(floats, ignore_errors=True)
        try:
            yield from process.run("folder", self._log, source=variant.files[GGUF_NAME], target=floats)
            return (yield from process.run("accuracy", self._log, kind="torch", source=floats, **said))
        finally:
            shutil.rmtree(floats, ignore_errors=True)

    def stored(self, variant: Variant) -> Generator[Progress, None, tuple[ModelStore, ModelName]]:
        """The variant in a store of the workshop's own, to be loaded from."""
        store = ModelStore(self._root / "store", lambda: Catalog({}))
        yield Progress("laying the candidate out")
        exhaust(put(store, _SCRATCH, variant, None))
        return store, _SCRATCH

    def _place(self, recipe: Recipe) -> Path:
        return self._root / "made" / digest(recipe.spec)[:16]

    def _reference(self, texts: Sequence[str]) -> Generator[Progress, None, tuple[Path, list[list[int]]]]:
        target = self._root / f"reference-{digest(list(texts))[:16]}.npy"
        known = target.with_suffix(".json")
        if not known.is_file():
            folder = yield from self.forms.folder()
            self._root.mkdir(parents=True, exist_ok=True)
            given = self._root / "texts.json"
            given.write_text(json.dumps(list(texts), ensure_ascii=False), encoding="utf-8")
            kind = "onnx" if self._source.kind == "onnx" else "torch"
            found = yield from process.run(
                "reference", self._log, kind=kind, source=folder, texts=given, target=target
            )
            partial = known.with_name(f"{known.name}.partial")
            partial.write_text(json.dumps(found["ids"]), encoding="utf-8")
            partial.replace(known)
        ids: list[list[int]] = json.loads(known.read_text(encoding="utf-8"))
        return target, ids

    def _graph(self, partial: Path, recipe: Recipe) -> Steps:
        options = dict(recipe.options)
        if recipe.how == "build":
            folder = yield from self.forms.floats()
            precision = recipe.quant.partition("-")[0]
            said: dict[str, Any] = {"precision": precision, "options": options}
        else:
            folder = yield from self.forms.graph()
            said = {"bits": int(options.pop("bits")), "options": options} if recipe.how == "blocks" else {}
        yield from process.run(recipe.how, self._log, source=folder, target=partial, **said)

    def _quantised(self, partial: Path, recipe: Recipe) -> Iterator[Progress]:
        floats, type_name = (yield from self.forms.gguf()), recipe.quant.upper()
        partial.mkdir(parents=True)
        target, status = partial / GGUF_NAME, f"quantising to {type_name}"
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
