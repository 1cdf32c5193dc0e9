"""The session behind the batch, opened by a launch plan: our own or GenAI's, with the provider that worked in the end."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import onnxruntime as ort

from hutch.core.errors import BadInput, EngineFailed, NotBuilt
from hutch.core.hardware import SteppedDown
from hutch.engines.onnx import agreement, company, genai, steps
from hutch.engines.onnx.providers import ProviderFailed, open_session
from hutch.engines.onnx.sampling import Floats
from hutch.engines.onnx.session import Decoder
from hutch.formats.genai_config import Decoder as DecoderConfig
from hutch.formats.genai_config import GenAIConfig
from hutch.formats.onnx_unpruned import unpruned

_log = logging.getLogger(__name__)
_CHECKED_NUM_CTX = 64
_FOLDER = "session.model_external_initializers_file_folder_path"
OURS, GENAI = "onnxruntime", "onnxruntime-genai"


class Session(steps.Decoder, Protocol):
    """A decoder that also says what a token takes in its cache."""

    vocab_size: int
    is_reproducible: bool

    @property
    def token_bytes(self) -> int:
        """Bytes of a token in the cache."""
        ...


class Wanted(NamedTuple):
    """What to open: a folder with `runner`, on the first of `providers` that can. `num_ctx`: the tokens of a row."""

    folder: Path
    config: GenAIConfig
    num_rows: int
    num_ctx: int
    num_thread: int
    runner: str = OURS
    providers: tuple[str, ...] = ()
    num_guessed: int = 0  # tokens that are guessed at most, to be looked over in one step

    @property
    def decoder(self) -> DecoderConfig:
        """The part that writes. Raises BadInput where there is none."""
        if self.config.decoder is None or not self.config.decoder.filename:
            raise BadInput("the model has no decoder that is one graph", hint="Hutch cannot run it.")
        return self.config.decoder

    @property
    def size(self) -> genai.Size:
        """The rows, as GenAI's session counts them; its cache has numbers of four bytes at most."""
        decoder = self.config.decoder
        token_bytes = 8 * decoder.num_layers * decoder.num_kv_heads * decoder.head_size if decoder else 0
        return genai.Size(self.num_rows, self.num_ctx, self.config.vocab_size, token_bytes)


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
            # Of several tokens in one step the last bits differ from those of one, and a lone answer has such steps.
            "reproducible": self.decoder.is_reproducible and not self.decoder.num_together,
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
        try:
            opened = _open_genai(wanted)
        except NotBuilt as missing:
            raise NotBuilt(
                f"Hutch's own runner cannot run the model: {error.message}; and {missing.message}",
                hint=missing.hint,
            ) from error
        return opened._replace(fallbacks=(SteppedDown(OURS, error.message), *opened.fallbacks))


def _open_ours(wanted: Wanted, make_options: Callable[[], ort.SessionOptions]) -> Opened:
    path = wanted.folder / wanted.decoder.filename
    source, options = _for_guesses(path, wanted, make_options)
    made: list[Decoder] = []

    def check(session: ort.InferenceSession, item: str) -> None:
        decoder = _decoder(session, item, wanted)
        if item != "cpu":
            _compare(session, open_session(path, ("cpu",), make_options).session, wanted)
        made.append(decoder)

    opened = open_session(source, wanted.providers, options, check)
    return Opened(made[-1], OURS, str(ort.__version__), opened.provider, opened.fallbacks)


def _for_guesses(
    path: Path, wanted: Wanted, make_options: Callable[[], ort.SessionOptions]
) -> tuple[Path | bytes, Callable[[], ort.SessionOptions]]:
    """The graph, with logits for each token where guesses are to be looked over, and the options that open it."""
    if not wanted.num_guessed or wanted.providers not in ((), ("cpu",)):
        return path, make_options
    graph = unpruned(path, wanted.decoder.names["logits"], wanted.config.vocab_size)
    if graph is None:
        return path, make_options

    def options() -> ort.SessionOptions:
        made = make_options()
        made.add_session_config_entry(_FOLDER, str(path.parent))
        return made

    return graph, options


def _open_genai(wanted: Wanted) -> Opened:
    opened = genai.open_model(wanted.folder, wanted.providers, wanted.num_thread, wanted.size)
    decoder = genai.GenAIDecoder(opened.model, wanted.size, rewinds=not wanted.config.other_parts)
    decoder.is_reproducible = company.reads_alike(decoder)
    decoder.free(0)
    return Opened(decoder, GENAI, genai.version(), opened.provider, opened.fallbacks)


def _decoder(session: ort.InferenceSession, item: str, wanted: Wanted) -> Decoder:
    """A decoder on a session. On the CPU, a graph that it does not take is the graph's fault, else the provider's."""
    try:
        num_together = wanted.num_guessed + 1 if wanted.num_guessed else 0
        return Decoder(session, wanted.decoder, wanted.num_rows, wanted.num_ctx, num_together)
    except (BadInput, EngineFailed) as error:
        kind = BadInput if item == "cpu" else ProviderFailed
        raise kind(error.message) from error


def _compare(session: ort.InferenceSession, reference: ort.InferenceSession, wanted: Wanted) -> None:
    num_ctx = min(_CHECKED_NUM_CTX, wanted.num_ctx)
    ours, theirs = (Decoder(each, wanted.decoder, 1, num_ctx) for each in (session, reference))
    agreement.check(lambda ids: _answer(ours, ids), lambda ids: _answer(theirs, ids), ours.vocab_size)


def _answer(decoder: Decoder, ids: Sequence[int]) -> Floats:
    logits = decoder.prefill(0, ids, 0)
    assert logits is not None  # noqa: S101  # they were asked for
    return logits
