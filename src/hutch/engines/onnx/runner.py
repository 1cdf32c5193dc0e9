"""The session behind the batch, opened by a launch plan: our own or GenAI's, with the provider that worked in the end."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import onnxruntime as ort

from hutch.core.errors import BadInput, EngineFailed
from hutch.core.hardware import SteppedDown
from hutch.engines.onnx import agreement, batch, genai
from hutch.engines.onnx.providers import ProviderFailed, open_session
from hutch.engines.onnx.sampling import Floats
from hutch.engines.onnx.session import Decoder, Layout

_log = logging.getLogger(__name__)
_CHECKED_NUM_CTX = 64
OURS, GENAI = "onnxruntime", "onnxruntime-genai"


class Session(batch.Decoder, Protocol):
    """A decoder that also says what a token takes in its cache."""

    vocab_size: int

    @property
    def token_bytes(self) -> int:
        """Bytes of a token in the cache."""
        ...


class Wanted(NamedTuple):
    """What to open: `graph` in `folder`, with `runner`, on the first of `providers` that can."""

    folder: Path
    graph: str
    layout: Layout
    size: genai.Size
    runner: str = OURS
    providers: tuple[str, ...] = ()
    num_thread: int = 0


class Opened(NamedTuple):
    """A decoder, and what `/props` says of it as `engine`."""

    decoder: Session
    runner: str
    version: str
    provider: str
    fallbacks: tuple[SteppedDown, ...]

    @property
    def report(self) -> dict[str, Any]:
        """As JSON. `providers` has the one that runs the model."""
        return {
            "name": self.runner,
            "version": self.version,
            "providers": [self.provider],
            "fallbacks": [{"provider": wanted, "reason": reason} for wanted, reason in self.fallbacks],
        }


def open_decoder(wanted: Wanted, make_options: Callable[[], ort.SessionOptions]) -> Opened:
    """Open what is wanted. A graph that ours turns out not to run goes to GenAI, and the reason is told.

    Raises EngineFailed where no provider runs it, and NotBuilt where GenAI is needed and not installed.
    """
    if wanted.runner == GENAI:
        return _open_genai(wanted)
    try:
        return _open_ours(wanted, make_options)
    except BadInput as error:
        _log.warning("Hutch's own runner cannot run the model: %s", error.message)
        opened = _open_genai(wanted)
        return opened._replace(fallbacks=(SteppedDown(OURS, error.message), *opened.fallbacks))


def _open_ours(wanted: Wanted, make_options: Callable[[], ort.SessionOptions]) -> Opened:
    path, size = wanted.folder / wanted.graph, wanted.size
    made: list[Decoder] = []

    def check(session: ort.InferenceSession, item: str) -> None:
        decoder = _decoder(session, item, size.num_rows, size.num_ctx, wanted.layout)
        if item != "cpu":
            _compare(session, open_session(path, ("cpu",), make_options).session, wanted)
        made.append(decoder)

    opened = open_session(path, wanted.providers, make_options, check)
    return Opened(made[-1], OURS, str(ort.__version__), opened.provider, opened.fallbacks)


def _open_genai(wanted: Wanted) -> Opened:
    opened = genai.open_model(wanted.folder, wanted.providers, wanted.num_thread, wanted.size)
    decoder = genai.GenAIDecoder(opened.model, wanted.size)
    return Opened(decoder, GENAI, genai.version(), opened.provider, opened.fallbacks)


def _decoder(
    session: ort.InferenceSession, item: str, num_rows: int, num_ctx: int, layout: Layout
) -> Decoder:
    """A decoder on a session. On the CPU, a graph that it does not take is the graph's fault, else the provider's."""
    try:
        return Decoder(session, num_rows, num_ctx, layout)
    except (BadInput, EngineFailed) as error:
        kind = BadInput if item == "cpu" else ProviderFailed
        raise kind(error.message) from error


def _compare(session: ort.InferenceSession, reference: ort.InferenceSession, wanted: Wanted) -> None:
    num_ctx = min(_CHECKED_NUM_CTX, wanted.size.num_ctx)
    ours, theirs = (Decoder(each, 1, num_ctx, wanted.layout) for each in (session, reference))
    agreement.check(lambda ids: _answer(ours, ids), lambda ids: _answer(theirs, ids), ours.vocab_size)


def _answer(decoder: Decoder, ids: Sequence[int]) -> Floats:
    logits = decoder.prefill(0, ids, 0)
    assert logits is not None  # noqa: S101  # they were asked for
    return logits
