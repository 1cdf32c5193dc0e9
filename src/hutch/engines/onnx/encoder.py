"""An encoder on ONNX Runtime: a batch of texts as tokens in, a vector or a score for each out.

Knows no request and no wire. One thread may call it at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as state

from hutch.core.errors import EngineFailed, NotBuilt
from hutch.engines.onnx import agreement, pooling
from hutch.engines.onnx.encoder_model import EncoderModel
from hutch.engines.onnx.pooling import Pooler
from hutch.engines.onnx.providers import open_session
from hutch.formats.ggml_numbers import Floats
from hutch.formats.pooling_config import PoolingConfig

_INTEGERS: Mapping[str, type[np.int64 | np.int32]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_FLOATS = ("tensor(float)", "tensor(float16)")
_POOLED = ("sentence_embedding",)
_STATES = ("last_hidden_state", "token_embeddings")
_HINT = "Export the model again, with Optimum or sentence-transformers."
# ONNX Runtime's errors have no class in common.
_FAILURES: tuple[type[Exception], ...] = (
    *(state.Fail, state.EPFail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
    *(state.NoModel, state.NoSuchFile, state.NotImplemented, state.RuntimeException),
    *(RuntimeError, ValueError),
)


@dataclass(frozen=True, slots=True)
class Text:
    """A text as tokens, those that open and close it included. `types` are 1 for the second of a pair."""

    ids: Sequence[int]
    types: Sequence[int]


class Encoder:
    """One encoder, loaded."""

    def __init__(self, model: EncoderModel, num_thread: int, providers: Sequence[str] = ()) -> None:
        """Load `model` on the first of `providers` that can run it. Raises FormatError, NotBuilt, or EngineFailed where the graph cannot be run."""
        self.config: PoolingConfig = model.config
        self.num_tokens = model.num_tokens
        self._pooler = Pooler(self.config, model.files)

        def make_options() -> onnxruntime.SessionOptions:
            return _options(num_thread, model.weights)

        def check(session: onnxruntime.InferenceSession, item: str) -> None:
            self._take(session)
            if item != "cpu":
                texts = self._texts(model.num_tokens)
                found = self._sample(texts)
                self._take(open_session(model.graph, ("cpu",), make_options).session)
                agreement.check_outputs(found, self._sample(texts))

        opened = open_session(model.graph, providers, make_options, check)
        self._take(opened.session)
        self.report = {
            "name": "onnxruntime",
            "version": onnxruntime.__version__,
            "providers": [opened.provider],
            "fallbacks": [{"provider": step.wanted, "reason": step.reason} for step in opened.fallbacks],
        }

    def _take(self, session: onnxruntime.InferenceSession) -> None:
        """Run this session from now on. Raises NotBuilt for a graph that is no encoder's."""
        self._session: Any = session
        self._inputs = {each.name: _integer(each) for each in self._session.get_inputs()}
        unknown = set(self._inputs) - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
        if "input_ids" not in self._inputs or unknown:
            raise NotBuilt(f"the graph has inputs {sorted(self._inputs)}, which no encoder has", hint=_HINT)
        self._output = _output(self._session, self.config)

    def _sample(self, texts: Sequence[Text]) -> list[Floats]:
        """What the graph itself gives for texts, each alone: no padding, and no sigmoid that makes scores alike."""
        return [self._computed([text], np.array([len(text.ids)])) for text in texts]

    def _texts(self, num_tokens: int) -> list[Text]:
        """Those by which a provider is compared with the CPU."""
        prompts = [ids[: self.config.max_tokens] for ids in agreement.prompts(num_tokens)]
        return [Text(ids, [0] * len(ids)) for ids in prompts]

    @property
    def width(self) -> int:
        """How many numbers `run` gives for a text: one where it ranks."""
        return 1 if self.config.is_reranker else self._pooler.width

    def run(self, texts: Sequence[Text]) -> Floats:
        """One row of `width` numbers for each text. Raises EngineFailed."""
        lengths = np.array([len(text.ids) for text in texts])
        return self._finished(self._computed(texts, lengths), lengths)

    def _computed(self, texts: Sequence[Text], lengths: NDArray[np.int64]) -> Floats:
        """The graph's own output."""
        shape = len(texts), int(lengths.max())
        feeds = {name: np.zeros(shape, kind) for name, kind in self._inputs.items()}
        feeds["input_ids"].fill(self.config.pad_token_id)
        for row, text in enumerate(texts):
            feeds["input_ids"][row, : len(text.ids)] = text.ids
            if "token_type_ids" in feeds:
                feeds["token_type_ids"][row, : len(text.types)] = text.types
        inside = np.arange(shape[1]) < lengths[:, None]
        if "attention_mask" in feeds:
            feeds["attention_mask"][:] = inside
        if "position_ids" in feeds:
            feeds["position_ids"][:] = np.arange(shape[1]) * inside
        try:
            (found,) = self._session.run([self._output], feeds)
        except _FAILURES as error:
            raise EngineFailed(f"the model could not be run: {str(error)[:300]}", hint=_HINT) from error
        return np.asarray(found, np.float32)

    def _finished(self, found: Floats, lengths: NDArray[np.int64]) -> Floats:
        if self.config.is_reranker:
            wanted: tuple[int, ...] = (len(lengths), self.config.num_labels)
        elif self._output in _POOLED:
            wanted = (len(lengths), self._pooler.width)
        else:
            wanted = (len(lengths), int(lengths.max()), self.config.width)
        if found.shape != wanted:
            raise EngineFailed(f"{self._output} has the shape {found.shape}; {wanted} is needed", hint=_HINT)
        rows = self._rows(found, lengths)
        if not np.isfinite(rows).all():
            raise EngineFailed(
                "the model computed what is no number",
                hint="Its files are damaged, or its weights overflow: pull it anew, or another quantisation.",
            )
        return rows

    def _rows(self, found: Floats, lengths: NDArray[np.int64]) -> Floats:
        if self.config.is_reranker:
            return pooling.scores(found, sigmoid=self.config.sigmoid)[:, None]
        if self._output in _POOLED:  # dense layers are in the graph then
            return self._pooler.normalized(found)
        return self._pooler.normalized(self._pooler.projected(self._pooler.pooled(found, lengths)))


def _options(num_thread: int, weights: Mapping[str, Floats]) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    if weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(each) for each in weights.values()]
        options.add_external_initializers(list(weights), values)
    options.intra_op_num_threads = num_thread
    options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.force_spinning_stop", "1"
    )  # between two runs the cores are the front's
    options.log_severity_level = 3  # it warns of every node that it folds
    return options


def _integer(tensor: Any) -> type[np.int64 | np.int32]:
    kind = _INTEGERS.get(tensor.type)
    if kind is None or len(tensor.shape) != 2:
        raise NotBuilt(f"the graph's input {tensor.name} is {tensor.type}{tensor.shape}", hint=_HINT)
    if any(isinstance(size, int) for size in tensor.shape):
        raise NotBuilt(
            f"the graph takes texts of one size alone: {tensor.name} is {tensor.shape}",
            hint="Export it with dynamic axes.",
        )
    return kind


def _output(session: Any, config: PoolingConfig) -> str:
    found = {each.name: each.type for each in session.get_outputs()}
    wanted = ("logits",) if config.is_reranker else _POOLED + _STATES
    for name in wanted:
        if found.get(name) in _FLOATS:
            return name
    raise NotBuilt(f"the graph has outputs {sorted(found)}; {' or '.join(wanted)} is needed", hint=_HINT)
