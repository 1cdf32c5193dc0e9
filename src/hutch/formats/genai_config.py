"""`genai_config.json`: how ONNX Runtime GenAI is to run a folder, checked before anything of it is used.

The file may tell the runtime to load libraries, to write files and to look elsewhere for weights. Such keys are refused, and
every name of a file must be one in the folder.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats import bounded_json, folder_names
from hutch.formats.gguf_source import shown
from hutch.formats.image_words import WORDS, ImageWords

NAME = "genai_config.json"
MAX_LAYERS = 512
_MAX_BYTES = 1 << 20
_MAX_COUNT = 1 << 24
_MAX_TEXT_CHARS = 4096
_MAX_EOS = 64
_DECODER = "decoder"
_VISION = "vision"
_HINT = "The model was made wrongly, or made to do harm. Get it from another source."
_FILE_KEY = re.compile(r".*(file|filename|path|dir|folder|library)")
_NAME_KEYS = (
    "filename",
    "config_filename",
    "adapter_filename",
)  # those that are meant to name a file of the folder
_SESSION_KEYS = frozenset(
    {
        *("intra_op_num_threads", "inter_op_num_threads", "enable_cpu_mem_arena", "enable_mem_pattern"),
        *("log_id", "log_severity_level", "log_verbosity_level", "graph_optimization_level"),
        *("provider_options", "use_env_allocators", "past_present_share_buffer", "config_entries"),
        *("session.intra_op.allow_spinning", "session.inter_op.allow_spinning", "session.disable_prepacking"),
        *("session.use_env_allocators", "session.use_device_allocator_for_initializers"),
        *("session.set_denormal_as_zero", "session.dynamic_block_base", "session.disable_quant_qdq"),
        *("session.enable_quant_qdq_cleanup", "session.qdqisint8allowed", "session.disable_cpu_ep_fallback"),
        *("session.qdq_matmulnbits_accuracy_level", "session.inter_thread_affinities"),
        *("session.intra_op_thread_affinities", "ep.share_ep_contexts", "ep.context_enable"),
    }
)
_ROLES = MappingProxyType(
    {
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "position_ids": "position_ids",
        "past_key_names": "past_key_values.%d.key",
        "past_value_names": "past_key_values.%d.value",
        "logits": "logits",
        "present_key_names": "present.%d.key",
        "present_value_names": "present.%d.value",
    }
)  # GenAI's own words where the file has none
_PER_LAYER = frozenset(name for name, default in _ROLES.items() if "%d" in default)


@dataclass(frozen=True, slots=True)
class Decoder:
    """The part that writes. Names of the graph's inputs and outputs by their roles; those for each layer have a `%d`."""

    filename: str
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    hidden_size: int
    names: Mapping[str, str]
    window: int | None  # how many tokens attention looks back; None: all


@dataclass(frozen=True, slots=True)
class GenAIConfig:
    """What the file says. `filenames` are all files that it names; `other_parts` are vision, speech, encoder …"""

    type: str
    context_length: int
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    pad_token_id: int | None
    decoder: Decoder | None
    other_parts: tuple[str, ...]
    filenames: tuple[str, ...]
    search: Mapping[str, Any]
    providers: tuple[str, ...] = ()  # that the decoder was made for, in GenAI's words; none: the CPU

    @property
    def image_words(self) -> ImageWords | None:
        """What stands for images in prompts; None where the model sees none."""
        return WORDS.get(self.type) if _VISION in self.other_parts else None


def read(path: Path) -> GenAIConfig:
    """Read and check the file at `path`. Raises FormatError."""
    document = bounded_json.read(path, NAME, _MAX_BYTES)
    model = _object(document, "model")
    _refuse_harm(document, NAME)
    vocab_size = _count(model, "vocab_size")
    parts = [key for key, value in model.items() if isinstance(value, dict)]
    decoder = _object(model, _DECODER) if _DECODER in model else None
    return GenAIConfig(
        type=_word(model, "type"),
        context_length=_count(model, "context_length"),
        vocab_size=vocab_size,
        eos_token_ids=_tokens(model, "eos_token_id", vocab_size),
        bos_token_id=next(iter(_tokens(model, "bos_token_id", vocab_size)), None),
        pad_token_id=next(iter(_tokens(model, "pad_token_id", vocab_size)), None),
        decoder=None if decoder is None else _decoder(decoder),
        other_parts=tuple(part for part in parts if part != _DECODER),
        filenames=tuple(dict.fromkeys(_filenames(document))),
        search=MappingProxyType(_object(document, "search") if "search" in document else {}),
        providers=tuple(_providers(decoder or {})),
    )


def _providers(decoder: Mapping[str, Any]) -> Iterator[str]:
    """The names in its provider options. Their shape has been checked."""
    for provider in decoder.get("session_options", {}).get("provider_options", ()):
        yield from provider if isinstance(provider, dict) else ()


def _decoder(said: Mapping[str, Any]) -> Decoder:
    num_heads = _count(said, "num_attention_heads", high=1 << 16)
    num_layers = _count(said, "num_hidden_layers", high=MAX_LAYERS)
    hidden_size = _count(said, "hidden_size")
    window = said.get("sliding_window")
    names = {}
    for key, default in _ROLES.items():
        side = (
            "inputs"
            if key in ("input_ids", "attention_mask", "position_ids") or "past_" in key
            else "outputs"
        )
        names[key] = _tensor_name(_object(said, side) if side in said else {}, key, default)
    return Decoder(
        filename=_text(said, "filename", "" if said.get("pipeline") else None),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=_count(said, "num_key_value_heads", high=1 << 16, default=num_heads),
        head_size=_count(said, "head_size", high=1 << 16, default=max(1, hidden_size // num_heads)),
        hidden_size=hidden_size,
        names=MappingProxyType(names),
        window=_count(window, "window_size")
        if isinstance(window, dict) and "window_size" in window
        else None,
    )


def _tensor_name(said: Mapping[str, Any], key: str, default: str) -> str:
    """The name of an input or output. GenAI makes one for each layer by C's `printf`, so nothing but one %d may be in it."""
    name = _text(said, key, default)
    num_percent = 1 if key in _PER_LAYER else 0
    if name.count("%") != num_percent or name.count("%d") != num_percent or not name.isprintable():
        wanted = "one %d for the layer, and no other %" if num_percent else "no %"
        raise FormatError(f"{NAME}: {key} is {shown(name)}; it must have {wanted}", hint=_HINT)
    return name


def _refuse_harm(value: object, where: str) -> None:
    """Raise FormatError for what makes a runtime load libraries, write files or leave the folder."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            _refuse_harm(each, f"{where}[{index}]")
    if not isinstance(value, dict):
        return
    for key, each in value.items():
        here = f"{where}: {shown(key)}"
        if key == "session_options":
            _check_session(each, where)
        elif key == "run_options" and each:
            raise FormatError(f"{here} is not supported", hint=f"Take it out of {NAME}.")
        elif isinstance(each, str) and _FILE_KEY.fullmatch(key) and key not in _NAME_KEYS and each:
            raise FormatError(f"{here} names a place, {shown(each)}, which is not supported", hint=_HINT)
        else:
            _refuse_harm(each, here)


def _check_session(value: object, where: str) -> None:
    if not isinstance(value, dict):
        raise FormatError(f"{where}: session_options is no JSON object", hint=_HINT)
    for key, each in value.items():
        if key not in _SESSION_KEYS:
            raise FormatError(
                f"{where}: session_options has {shown(key)}, which is not supported",
                hint=f"Take it out of {NAME}: it is not needed, or lets the runtime load or write files.",
            )
        texts = each.values() if isinstance(each, dict) else [each]
        if key == "provider_options":
            texts = list(_provider_texts(each, where))
        for text in texts:
            if isinstance(text, str) and ("/" in text or "\\" in text or len(text) > _MAX_TEXT_CHARS):
                raise FormatError(f"{where}: {shown(key)} has the path {shown(text)}", hint=_HINT)


def _provider_texts(value: object, where: str) -> Iterator[object]:
    if not isinstance(value, list):
        raise FormatError(f"{where}: provider_options is no list", hint=_HINT)
    for provider in value:
        for name, options in provider.items() if isinstance(provider, dict) else ((str(provider), {}),):
            yield name
            yield from options.values() if isinstance(options, dict) else (str(options),)


def _filenames(value: object) -> Iterator[str]:
    """Every file that is named, checked."""
    if isinstance(value, list):
        for each in value:
            yield from _filenames(each)
    if isinstance(value, dict):
        for key, each in value.items():
            if key in _NAME_KEYS and each:
                if not isinstance(each, str):
                    raise FormatError(f"{NAME}: {key} is {shown(each)}; a name is needed", hint=_HINT)
                folder_names.check(each, f"{NAME}: {key}")
                yield each
            else:
                yield from _filenames(each)


def _tokens(said: Mapping[str, Any], key: str, vocab_size: int) -> tuple[int, ...]:
    value = said.get(key)
    values = value if isinstance(value, list) else [] if value in (None, -1) else [value]
    if len(values) > _MAX_EOS or any(type(each) is not int or not 0 <= each < vocab_size for each in values):
        raise FormatError(f"{NAME}: {key} is {shown(value)}; ids below {vocab_size:,} are needed", hint=_HINT)
    return tuple(values)


def _object(said: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = said.get(key)
    if not isinstance(value, dict):
        raise FormatError(f"{NAME}: {key} is missing, or no JSON object", hint=_HINT)
    return value


def _word(said: Mapping[str, Any], key: str) -> str:
    text = _text(said, key, None)
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise FormatError(f"{NAME}: {key} is {shown(text)}; a name like llama is needed", hint=_HINT)
    return text


def _text(said: Mapping[str, Any], key: str, default: str | None) -> str:
    value = said.get(key, default)
    if not isinstance(value, str) or len(value) > _MAX_TEXT_CHARS:
        raise FormatError(f"{NAME}: {key} is {shown(value)}; a text is needed", hint=_HINT)
    return value


def _count(said: Mapping[str, Any], key: str, high: int = _MAX_COUNT, default: int | None = None) -> int:
    value = said.get(key, default)
    if type(value) is not int or not 1 <= value <= high:
        raise FormatError(
            f"{NAME}: {key} is {shown(value)}; an integer from 1 to {high:,} is needed", hint=_HINT
        )
    return value
