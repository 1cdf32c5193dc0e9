"""The tokenizer of a folder in Hugging Face's layout: its JSON checked as far as the front uses it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hutch.core.errors import FormatError
from hutch.formats import bounded_json
from hutch.formats.fim import fim_family
from hutch.formats.gguf_source import DAMAGED, shown

NAME = "tokenizer.json"
CONFIG_NAME = "tokenizer_config.json"
TEMPLATE_NAME = "chat_template.jinja"
MAX_TOKENS = 1 << 22
MAX_TEMPLATE_CHARS = 1 << 18
_MODELS = ("BPE", "WordPiece", "Unigram", "WordLevel")
_MAX_ADDED = 1 << 16
_MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What the files say. `fim` are the tokens before prefix, suffix and middle."""

    num_tokens: int
    chat_template: str
    fim: tuple[str, str, str] | None
    max_length: int | None  # of a text, in tokens


def read(files: Mapping[str, Path]) -> TokenizerFiles:
    """Read the tokenizer of these files, by their names in the folder. Raises FormatError."""
    if NAME not in files:
        raise FormatError(
            f"the model's {NAME} is missing",
            hint="Write it with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR).",
        )
    document = bounded_json.read(files[NAME], NAME)
    tokens = dict(_tokens(document))
    said = (
        bounded_json.read(files[CONFIG_NAME], CONFIG_NAME, _MAX_CONFIG_BYTES) if CONFIG_NAME in files else {}
    )
    longest = said.get("model_max_length")
    return TokenizerFiles(
        num_tokens=max(tokens.values(), default=-1) + 1,
        chat_template=_template(files, said),
        fim=fim_family(tokens),
        max_length=longest if type(longest) is int and 0 < longest < MAX_TOKENS else None,
    )


def _tokens(document: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    model = document.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") not in _MODELS:
        raise FormatError(f"{NAME}: its model is none of {', '.join(_MODELS)}", hint=DAMAGED)
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):  # Unigram: pairs of a token and its score
        vocabulary = {
            each[0]: index
            for index, each in enumerate(vocabulary)
            if isinstance(each, list) and each and isinstance(each[0], str)
        }
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise FormatError(f"{NAME}: it has no vocabulary", hint=DAMAGED)
    added = document.get("added_tokens") or []
    if not isinstance(added, list) or len(added) > _MAX_ADDED:
        raise FormatError(f"{NAME}: added_tokens is no list of tokens", hint=DAMAGED)
    found = list(vocabulary.items())
    for each in added:
        fields = each if isinstance(each, dict) else {}
        found.append((fields.get("content"), fields.get("id")))
    for token, index in found:
        if not isinstance(token, str) or type(index) is not int or not 0 <= index < MAX_TOKENS:
            raise FormatError(f"{NAME}: token {shown(token)} has the id {shown(index)}", hint=DAMAGED)
        yield token, index


def _template(files: Mapping[str, Path], said: Mapping[str, Any]) -> str:
    """The chat template: a file of its own before the one in the tokenizer's configuration, of several the one named default."""
    source = _template_source(files, said)
    if len(source) > MAX_TEMPLATE_CHARS:
        raise FormatError(
            f"the chat template has more than {MAX_TEMPLATE_CHARS:,} characters",
            hint="Give the one that the model was published with.",
        )
    return source


def _template_source(files: Mapping[str, Path], said: Mapping[str, Any]) -> str:
    if TEMPLATE_NAME in files:
        data = bounded_json.read_bytes(files[TEMPLATE_NAME], TEMPLATE_NAME, 4 * MAX_TEMPLATE_CHARS)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise FormatError(f"{TEMPLATE_NAME} is not UTF-8", hint=DAMAGED) from None
    found = said.get("chat_template")
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    if found is None:
        return ""
    if not isinstance(found, str):
        raise FormatError(f"{CONFIG_NAME}: chat_template is {shown(found)}; a text is needed", hint=DAMAGED)
    return found
