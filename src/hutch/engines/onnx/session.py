"""A decoder graph on ONNX Runtime with its key-value cache in rows that are preallocated and bound in place.

Which request has which row is not decided here. Nothing may call a `Decoder` from two threads at once.
"""

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx import company
from hutch.engines.onnx.providers import reason_of
from hutch.formats import genai_config

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_TYPES: Mapping[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PAGE_BYTES = mmap.PAGESIZE
_MASK_STEP = 256  # masks are a multiple of it wide, so that a binding serves as many steps
# Where logits come for each position, a chunk's end runs by itself, so that the head works on these alone.
# Never one token: the kernels of one differ from those of many in the last bits.
_NUM_TAIL = 2


class Cache:
    """A tensor [rows, heads, tokens, head_size] in pages of its own, which can be given back."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: type[np.floating[Any]]) -> None:
        num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        self._pages = mmap.mmap(-1, num_bytes, **private)  # shared pages cannot be given back
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # else one token of a row would take megabytes
            self._pages.madvise(mmap.MADV_NOHUGEPAGE)
        self.array: NDArray[np.floating[Any]] = np.frombuffer(self._pages, dtype).reshape(shape)

    def free(self, row: int) -> None:
        """Give a row's memory back; it reads as zeros."""
        row_bytes = self.array[row].nbytes
        begin, end = row * row_bytes, (row + 1) * row_bytes
        whole = -(-begin // _PAGE_BYTES) * _PAGE_BYTES, end // _PAGE_BYTES * _PAGE_BYTES
        if whole[0] < whole[1] and hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED, whole[0], whole[1] - whole[0])
            item_bytes = self.array.itemsize
            flat = self.array.reshape(-1)
            flat[begin // item_bytes : whole[0] // item_bytes] = 0
            flat[whole[1] // item_bytes : end // item_bytes] = 0
        else:
            self.array[row] = 0


@dataclass(slots=True)
class _Binding:
    """Inputs and outputs of a run on some rows. What is bound by pointer must stay alive as long as it is used."""

    io: ort.IOBinding
    width: int = 0
    ids: Ints = field(default_factory=lambda: np.empty((0, 0), np.int64))
    mask: Ints = field(default_factory=lambda: np.empty((0, 0), np.int64))
    positions: Ints = field(default_factory=lambda: np.empty((0, 0), np.int64))


class Decoder:
    """A session and `num_rows` rows of `num_ctx` tokens each.

    A row's first tokens are those that were put there last; what lies behind them is never read, so a row is taken over by
    starting at 0. Steps of fewer than `min_rows` rows may round otherwise than larger ones; where `is_reproducible` is false
    that is so whatever their number. Raises BadInput for a graph whose cache cannot be bound in place.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        config: genai_config.Decoder,
        num_rows: int,
        num_ctx: int,
        num_together: int = 0,
    ) -> None:
        self._session = session
        self._names = names = config.names
        self.num_rows, self.num_ctx = num_rows, num_ctx
        inputs = {each.name: each for each in session.get_inputs()}
        outputs = {each.name: each for each in session.get_outputs()}
        self._layers = _layers(names, set(inputs), set(outputs))
        self._has_positions = names["position_ids"] in inputs
        self._caches = [
            _cache(inputs[past], (num_rows, num_ctx), config.head_size) for past, _ in self._layers
        ]
        logits = outputs[names["logits"]]
        if logits.type not in _TYPES:
            raise BadInput(f"the model's logits are {logits.type}: floats are needed")
        self._logits_type = _TYPES[logits.type]
        self._is_pruned = logits.shape[1] == 1
        self.vocab_size = int(logits.shape[2])
        self._logits = np.empty((num_rows, 1, self.vocab_size), self._logits_type)
        self.num_together = 0 if self._is_pruned else num_together
        num_tail = 1 if self._is_pruned else max(_NUM_TAIL, num_together)
        self._tail = np.empty((1, num_tail, self.vocab_size), self._logits_type)
        self._decoding: dict[tuple[int, int], _Binding] = {}
        self._prefilling: dict[tuple[int, int], _Binding] = {}
        self._to_fetches = ort.RunOptions()
        self._to_fetches.only_execute_path_to_fetches = True  # the head is left out where no logits are bound
        self._check_in_place()
        least = company.least_rows(self)
        self.min_rows = least or 1
        self.is_reproducible = least is not None and company.reads_alike(self)
        for row in range(num_rows):
            self.free(row)

    @property
    def token_bytes(self) -> int:
        """What a token takes in the cache."""
        return sum(each.array[0, :, 0].nbytes for each in self._caches)

    def prefill(self, row: int, ids: Sequence[int], start: int, *, want_logits: bool = True) -> Floats | None:
        """Put tokens into a row at position `start`, and return the logits [vocab] after the last one if they are wanted.

        The logits are valid until the next call.
        """
        if self._is_pruned:
            self._run_row(row, ids, start, self._tail)
        elif not want_logits:
            self._run_row(row, ids, start, None)
        else:
            if len(ids) > _NUM_TAIL:
                self._run_row(row, ids[:-_NUM_TAIL], start, None)
                start, ids = start + len(ids) - _NUM_TAIL, ids[-_NUM_TAIL:]
            self._run_row(row, ids, start, self._tail[:, : len(ids)])
        last = 0 if self._is_pruned else len(ids) - 1
        return self._tail[0, last].astype(np.float32, copy=False) if want_logits else None

    def read(self, row: int, ids: Sequence[int], start: int) -> Floats:
        """Put at most `num_together` tokens into a row at position `start`; the logits [tokens, vocab] after each.

        They are valid until the next call.
        """
        self._run_row(row, ids, start, self._tail[:, : len(ids)])
        logits: Floats = self._tail[0, : len(ids)].astype(np.float32, copy=False)
        return logits

    def decode(self, first: int, ids: Sequence[int], starts: Sequence[int]) -> Floats:
        """Put one token into each of the rows first, first + 1, …, at its position, and return the logits [rows, vocab].

        A row with the token -1 is only computed along: what is put there, and its logits, mean nothing.
        The logits are valid until the next call.
        """
        num = len(ids)
        lengths = np.fromiter(starts, np.int64, num) + 1
        binding = self._decoding_of(first, num, int(lengths.max()))
        np.maximum(ids, 0, out=binding.ids[:, 0])
        np.less(np.arange(binding.width), lengths[:, None], out=binding.mask, casting="unsafe")
        if self._has_positions:
            binding.positions[:, 0] = lengths - 1
        self._run(binding.io)
        return self._logits[:num, 0].astype(np.float32, copy=False)

    def swap(self, row: int, other: int, num_tokens: int) -> None:
        """Exchange two rows, of which no more than `num_tokens` are of use."""
        for each in self._caches:
            ours, theirs = each.array[row, :, :num_tokens], each.array[other, :, :num_tokens]
            kept = ours.copy()
            ours[:] = theirs
            theirs[:] = kept

    def copy(self, row: int, other: int, num_tokens: int) -> bool:
        """Put a row's first tokens into another one too."""
        for each in self._caches:
            each.array[other, :, :num_tokens] = each.array[row, :, :num_tokens]
        return True

    def views(self, row: int, num_tokens: int) -> Sequence[NDArray[np.floating[Any]]]:
        """The keys and values of a row's first tokens, where they lie."""
        return [each.array[row, :, :num_tokens] for each in self._caches]

    def free(self, row: int) -> None:
        """Give a row's memory back to the system."""
        for each in self._caches:
            each.free(row)

    def _run_row(
        self, row: int, ids: Sequence[int], start: int, logits: NDArray[np.floating[Any]] | None
    ) -> None:
        key = (row, logits.shape[1] if logits is not None else 0)
        if key not in self._prefilling:
            binding = _Binding(self._session.io_binding())
            _bind_rows(binding.io, self._layers, self._caches, slice(row, row + 1))
            if logits is not None:
                _bind_output(binding.io, self._names["logits"], logits)
            self._prefilling[key] = binding
        binding = self._prefilling[key]
        binding.ids = np.fromiter(ids, np.int64, len(ids))[None]
        _bind_input(binding.io, self._names["input_ids"], binding.ids)
        end = start + len(ids)
        binding.mask = np.ones((1, end), np.int64)
        _bind_input(binding.io, self._names["attention_mask"], binding.mask)
        if self._has_positions:
            binding.positions = np.arange(start, end)[None]
            _bind_input(binding.io, self._names["position_ids"], binding.positions)
        self._run(binding.io, self._to_fetches if logits is None else None)

    def _decoding_of(self, first: int, num: int, length: int) -> _Binding:
        width = min(-(-length // _MASK_STEP) * _MASK_STEP, self.num_ctx)
        if (first, num) not in self._decoding:
            binding = _Binding(self._session.io_binding(), ids=np.empty((num, 1), np.int64))
            _bind_rows(binding.io, self._layers, self._caches, slice(first, first + num))
            _bind_input(binding.io, self._names["input_ids"], binding.ids)
            _bind_output(binding.io, self._names["logits"], self._logits[:num])
            if self._has_positions:
                binding.positions = np.empty((num, 1), np.int64)
                _bind_input(binding.io, self._names["position_ids"], binding.positions)
            self._decoding[first, num] = binding
        binding = self._decoding[first, num]
        if binding.width != width:
            binding.width, binding.mask = width, np.empty((num, width), np.int64)
            _bind_input(binding.io, self._names["attention_mask"], binding.mask)
        return binding

    def _run(self, io: ort.IOBinding, options: ort.RunOptions | None = None) -> None:
        try:
            self._session.run_with_iobinding(io, options)
        except Exception as error:  # whatever ONNX Runtime raises, it is one step that failed
            raise EngineFailed(
                f"ONNX Runtime could not run the model: {reason_of(error)}", hint="Send the request again."
            ) from error

    def _check_in_place(self) -> None:
        """Look where the keys and values of three tokens go, and that those of the next one leave them there."""
        num = min(3, self.num_ctx - 1)
        self.prefill(0, [0] * num, 0)
        before = [each.array[0, :, :num].copy() for each in self._caches]
        self.decode(0, [0], [num])
        for (past, _), cache, kept in zip(self._layers, self._caches, before, strict=True):
            is_written = np.any(cache.array[0] != 0, axis=(0, 2))
            is_kept = np.array_equal(cache.array[0, :, :num], kept)
            if not (is_kept and is_written[: num + 1].all()) or is_written[num + 1 :].any():
                raise BadInput(
                    f"the graph does not write {past} in place",
                    hint="Hutch's own runner needs GroupQueryAttention with a shared past and present buffer.",
                )


def _layers(names: Mapping[str, str], inputs: set[str], outputs: set[str]) -> list[tuple[str, str]]:
    """The pairs of a past and the present that goes on from it."""
    num_layers = 0
    while names["past_key_names"] % num_layers in inputs:
        num_layers += 1
    pairs = [
        (names[f"past_{kind}_names"] % layer, names[f"present_{kind}_names"] % layer)
        for layer in range(num_layers)
        for kind in ("key", "value")
    ]
    needed = {
        names["input_ids"],
        names["attention_mask"],
        names["logits"],
        *(name for pair in pairs for name in pair),
    }
    missing = needed - inputs - outputs
    unknown = inputs - needed - {names["position_ids"]}
    if pairs and not missing and not unknown:
        return pairs
    complaint = "has no key-value cache"
    if missing:
        complaint = f"lacks {_few(missing)}"
    elif unknown:
        complaint = f"has inputs that Hutch's own runner cannot give: {_few(unknown)}"
    raise BadInput(f"the graph {complaint}", hint="It is no plain decoder in ONNX Runtime GenAI's layout.")


def _cache(wanted: ort.NodeArg, size: tuple[int, int], head_size: int) -> Cache:
    """The cache of an input, for `size`: so many rows of so many tokens."""
    shape = wanted.shape
    heads, width = (shape[1], shape[3]) if len(shape) == 4 else (None, None)
    width = width if isinstance(width, int) else head_size
    if wanted.type not in _TYPES or not isinstance(heads, int) or not width:
        raise BadInput(
            f"{wanted.name} is a {wanted.type} {wanted.shape}: floats [rows, heads, tokens, head_size] are needed",
            hint="Build the model with a float32 or float16 cache.",
        )
    return Cache((size[0], heads, size[1], width), _TYPES[wanted.type])


def _bind_rows(
    io: ort.IOBinding, layers: Sequence[tuple[str, str]], caches: Sequence[Cache], which: slice
) -> None:
    for (past, present), cache in zip(layers, caches, strict=True):
        rows = cache.array[which]
        _bind_input(io, past, rows)  # the same memory in and out: nothing is copied
        _bind_output(io, present, rows)


def _bind_input(io: ort.IOBinding, name: str, array: NDArray[Any]) -> None:
    io.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _bind_output(io: ort.IOBinding, name: str, array: NDArray[Any]) -> None:
    io.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _few(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
