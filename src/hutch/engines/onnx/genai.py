"""ONNX Runtime GenAI as the session behind the batch, for folders that Hutch's own session does not take.

Each row is a generator of its own, so rows are computed one after another. GenAI computes logits and keeps the cache; what
is chosen from the logits is chosen by Hutch, as everywhere. Nothing may call a `GenAIDecoder` from two threads at once.
"""

import importlib
import importlib.util
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hutch.core.errors import EngineFailed, NotBuilt
from hutch.core.hardware import BY_SHORT_NAME, SteppedDown, split_item
from hutch.engines.onnx import agreement
from hutch.engines.onnx.providers import ProviderFailed, library_of, reason_of
from hutch.engines.onnx.sampling import Floats

_log = logging.getLogger(__name__)
_REGISTERED: set[str] = set()
_MAX_COMPARED_BYTES = 2 << 30  # to compare takes the model twice
_PACKAGES = ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml")


class Size(NamedTuple):
    """How many rows of how many tokens, and what a row's tokens are made of."""

    num_rows: int
    num_ctx: int
    vocab_size: int
    token_bytes: int


class Opened(NamedTuple):
    """A model, the provider that runs it as a plan names it, and what was stepped down from before it."""

    model: Any
    provider: str
    fallbacks: tuple[SteppedDown, ...]


@dataclass(slots=True)
class _Row:
    """A generator, and the tokens that it holds."""

    generator: Any
    tokens: list[int] = field(default_factory=list)


class GenAIDecoder:
    """Rows of generators on one model. It has the methods of `session.Decoder` that the batch calls.

    `rewinds`: whether a generator can take tokens back. Of a model of several parts GenAI 0.18 says that it has done so, and
    keeps them in the cache.
    """

    num_together = 0  # it gives the logits of a step's last token alone
    min_rows = 1  # rows are computed one by one, so they cannot touch each other

    def __init__(self, model: Any, size: Size, *, rewinds: bool = True) -> None:
        self._og = library()
        self.model = model
        self._rewinds = rewinds
        self.num_rows, self.num_ctx, self.vocab_size, self.token_bytes = size
        self._rows: list[_Row | None] = [None] * size.num_rows
        self._logits = np.zeros((size.num_rows, size.vocab_size), np.float32)
        self.is_reproducible = True

    def look(self, row: int, tensors: Any) -> None:
        """Have a row ready for a prompt with images, whose tokens are then to be put into it all at once."""
        generator = self._generator()
        generator.set_inputs(tensors)
        self._rows[row] = _Row(generator)

    def prefill(self, row: int, ids: Sequence[int], start: int, *, want_logits: bool = True) -> Floats | None:
        """Put tokens into a row at position `start`; the logits [vocab] after the last one if they are wanted."""
        generator = self._append(row, ids, start)
        return self._last_logits(generator) if want_logits else None

    def read(self, row: int, ids: Sequence[int], start: int) -> Floats:  # noqa: ARG002
        """The logits after each of several tokens, which GenAI does not give."""
        raise NotBuilt("ONNX Runtime GenAI gives the logits after the last token alone")

    def decode(self, first: int, ids: Sequence[int], starts: Sequence[int]) -> Floats:
        """Put one token into each of the rows first, first + 1, …; the logits [rows, vocab], valid until the next call."""
        for index, (token, start) in enumerate(zip(ids, starts, strict=True)):
            if token >= 0:  # else the row only lies between others
                self._logits[index] = self._last_logits(self._append(first + index, [token], start))
        return self._logits[: len(ids)]

    def swap(self, row: int, other: int, num_tokens: int) -> None:  # noqa: ARG002  # generators move whole
        """Exchange two rows."""
        self._rows[row], self._rows[other] = self._rows[other], self._rows[row]

    def copy(self, row: int, other: int, num_tokens: int) -> bool:  # noqa: ARG002  # nor can they be copied
        """Put a row's first tokens into another one too."""
        return False

    def views(self, row: int, num_tokens: int) -> Sequence[NDArray[np.floating[Any]]]:  # noqa: ARG002
        """A row's keys and values, which GenAI does not show."""
        raise NotBuilt("ONNX Runtime GenAI does not show what its cache holds")

    def free(self, row: int) -> None:
        """Give a row's memory back."""
        self._rows[row] = None

    def _append(self, index: int, ids: Sequence[int], start: int) -> Any:
        try:
            row = self._holding(index, start)
            row.generator.append_tokens(np.asarray(ids, np.int32))
        except RuntimeError as error:
            self._rows[index] = None
            raise EngineFailed(
                f"ONNX Runtime GenAI could not run the model: {reason_of(error)}",
                hint="Send the request again.",
            ) from error
        row.tokens += ids
        return row.generator

    def _holding(self, index: int, start: int) -> _Row:
        """The row with exactly its first `start` tokens in it."""
        row = self._rows[index]
        if row is None or (start == 0 and row.tokens):
            row = self._rows[index] = _Row(self._generator())
        if len(row.tokens) == start:
            return row
        kept = row.tokens[:start]
        if len(kept) < start:
            raise RuntimeError(f"the row holds {len(kept)} tokens, not {start}")
        if not (self._rewinds and _is_rewound(row.generator, start)):  # it reads them anew
            row = self._rows[index] = _Row(self._generator())
            row.generator.append_tokens(np.asarray(kept, np.int32))
        row.tokens = kept
        return row

    def _generator(self) -> Any:
        params = self._og.GeneratorParams(self.model)
        params.set_search_options(max_length=self.num_ctx, do_sample=False, batch_size=1)
        return self._og.Generator(self.model, params)

    def _last_logits(self, generator: Any) -> Floats:
        logits: Floats = generator.get_logits().reshape(-1, self.vocab_size)[-1]
        return logits


def _is_rewound(generator: Any, start: int) -> bool:
    """Take a generator back to its first tokens. A model with a state that cannot be taken back does not do it."""
    try:
        generator.rewind_to(start)
    except RuntimeError:
        return False
    return True


def open_model(folder: Path, plan: Sequence[str], num_thread: int, size: Size) -> Opened:
    """Open a folder with the first provider of the plan that runs it; an empty plan is the CPU.

    Raises NotBuilt where GenAI is not installed, and EngineFailed with every reason where no provider runs the model.
    """
    og = library()
    fallbacks: list[SteppedDown] = []
    for item in plan or ("cpu",):
        try:
            model = _open(og, folder, item, num_thread)
            _check(folder, item, model, size, num_thread)
        except (ProviderFailed, RuntimeError, OSError, ImportError, AttributeError) as error:
            fallbacks.append(SteppedDown(item, reason_of(error)))
            _log.warning("%s does not run the model with GenAI: %s", item, fallbacks[-1].reason)
        else:
            return Opened(model, item, tuple(fallbacks))
    reasons = "; ".join(f"{wanted}: {reason}" for wanted, reason in fallbacks)
    raise EngineFailed(
        f"ONNX Runtime GenAI runs the model with no provider of the plan: {reasons}",
        hint="Add cpu to the hardware that may be used, or see `hutch hardware`.",
    )


def library() -> Any:
    """The library. Raises NotBuilt that names the extra where it is not installed."""
    try:
        return importlib.import_module("onnxruntime_genai")
    except ImportError as error:
        raise NotBuilt(
            f"this model needs ONNX Runtime GenAI, which is not installed ({error})",
            hint="pip install 'hutch[genai]'",
        ) from error


def version() -> str:
    """The library's version; "" where none of its packages is installed."""
    for package in _PACKAGES:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return ""


def _open(og: Any, folder: Path, item: str, num_thread: int) -> Any:
    config = og.Config(str(folder))
    config.clear_providers()  # the folder's own are in the plan
    options = {"intra_op_num_threads": num_thread}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    short, kind = split_item(item) if item != "cpu" else ("cpu", "cpu")
    if short != "cpu":
        provider = BY_SHORT_NAME[short]
        name = provider.genai
        if not name:
            raise ProviderFailed("ONNX Runtime GenAI does not know this provider")
        if provider.module and provider.name not in _REGISTERED and importlib.util.find_spec(provider.module):
            og.register_execution_provider_library(provider.name, library_of(provider))
            _REGISTERED.add(provider.name)  # it takes a library once
        config.append_provider(name)
        if short == "openvino" and kind:
            config.set_provider_option(name, "device_type", kind.upper())
    return og.Model(config)


def _check(folder: Path, item: str, model: Any, size: Size, num_thread: int) -> None:
    """Run the model once, and where it is not on the CPU compare it with one that is."""
    ours = GenAIDecoder(model, size._replace(num_rows=1))
    _answer(ours, [0])
    if item == "cpu":
        return
    size_bytes = sum(file.stat().st_size for file in folder.rglob("*.onnx*"))
    if size_bytes > _MAX_COMPARED_BYTES:
        _log.info("%s is not compared with the CPU: the model has %d bytes", item, size_bytes)
        return
    try:
        reference = GenAIDecoder(_open(library(), folder, "cpu", num_thread), size._replace(num_rows=1))
        _answer(reference, [0])
    except (RuntimeError, EngineFailed) as error:
        _log.info("%s is not compared with the CPU, which cannot run the model: %s", item, error)
        return
    agreement.check(lambda ids: _answer(ours, ids), lambda ids: _answer(reference, ids), size.vocab_size)


def _answer(decoder: GenAIDecoder, ids: Sequence[int]) -> Floats:
    try:
        logits = decoder.prefill(0, ids, 0)
    except EngineFailed as error:
        raise ProviderFailed(error.message) from error
    assert logits is not None  # noqa: S101
    return logits
