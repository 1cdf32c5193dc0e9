"""Text into tokens and tokens into text, by a model's own tokenizer.json."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hutch.core.errors import BadInput, FormatError
from hutch.engines.onnx.stops import Stops

_MAX_BYTES = 256 << 20  # the largest that is known, Gemma 3's, has 33 MB
_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_KINDS = {"ByteLevel": "bytes", "Metaspace": "spaces", "ByteFallback": "spaces", "WordPiece": "words"}


class Tokens:
    """A model's vocabulary. `eos`: the tokens that end an answer, as genai_config.json has them.

    Raises FormatError where the file is no tokenizer, or one whose tokens cannot be told as bytes.
    """

    def __init__(self, path: Path, eos: Iterable[int] = ()) -> None:
        self._path = path
        self._tokenizer = read_tokenizer(path)
        added = self._tokenizer.get_added_tokens_decoder()
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._bytes = [b""] * (max(vocabulary.values(), default=-1) + 1)
        piece_bytes = _PIECES[_kind(self._tokenizer)]
        for piece, token in vocabulary.items():
            self._bytes[token] = piece.encode() if token in added else piece_bytes(piece)
        self.eos = frozenset(eos)
        self.special = frozenset(token for token, each in added.items() if each.special)
        start = self._tokenizer.encode("", add_special_tokens=True).ids
        self.bos = (
            start[0] if len(start) == 1 else None
        )  # two are a BERT's, which has no beginning of its own

    @property
    def size(self) -> int:
        """How many tokens there are. A model's logits may be more: the rest is padding and means nothing."""
        return len(self._bytes)

    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = True) -> list[int]:
        """The tokens of a text. Raises BadInput for a text that is not Unicode.

        `add_special`: with what the tokenizer puts around a text, such as a BOS (never a second one).
        `parse_special`: names of special tokens in the text are those tokens; else they are plain text.
        """
        tokenizer = self._tokenizer if parse_special else self._literal
        try:
            ids: list[int] = tokenizer.encode(text, add_special_tokens=add_special).ids
        except (TypeError, UnicodeEncodeError) as error:  # half of a surrogate pair
            raise BadInput("the text is not valid Unicode", hint="Send whole characters.") from error
        return ids[1:] if self.bos is not None and ids[:2] == [self.bos] * 2 else ids

    def encode_mixed(self, parts: Iterable[str | int], *, add_special: bool = True) -> list[int]:
        """The tokens of texts and tokens in a row. What the tokenizer puts before a text goes before the first part only.

        Raises BadInput for a token that the vocabulary lacks.
        """
        ids: list[int] = []
        for index, part in enumerate(parts):
            if isinstance(part, str):
                ids += self.encode(part, add_special=add_special and index == 0)
            elif 0 <= part < self.size:
                ids.append(part)
            else:
                raise BadInput(f"prompt: there is no token {part}", hint=f"Tokens are 0 to {self.size - 1}.")
        return ids

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens, special ones included. Bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.bytes_of, tokens)).decode(errors="replace")

    def bytes_of(self, token: int) -> bytes:
        """The bytes that a token stands for; of a special token its name. Nothing for a number that is no token."""
        return self._bytes[token] if 0 <= token < len(self._bytes) else b""

    def id_of(self, piece: str) -> int | None:
        """The token that the tokenizer's file calls so, such as `<|im_end|>`."""
        token: int | None = self._tokenizer.token_to_id(piece)
        return token

    @cached_property
    def _literal(self) -> Tokenizer:
        tokenizer = read_tokenizer(self._path)
        tokenizer.encode_special_tokens = True
        return tokenizer


class Output:
    """Tokens in, text out: whole characters only, and nothing that may yet turn out to be a stop string.

    A special token has no text, unless it is among `preserved` or is itself a stop string.
    """

    def __init__(self, tokens: Tokens, stops: Sequence[str] = (), preserved: Iterable[int] = ()) -> None:
        self.stop = ""  # the stop string that was found, which ends the text
        self._tokens = tokens
        named = (tokens.id_of(stop) for stop in stops)
        self._silent = tokens.special - set(preserved) - set(named)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = Stops(stops)
        self._held = ""

    def feed(self, token: int) -> str:
        """What the text grows by, now that this token is known."""
        return self._read(self._decoder.decode(self.bytes_of(token)))

    def bytes_of(self, token: int) -> bytes:
        """What this token adds to the text, before characters are whole."""
        return b"" if token in self._silent else self._tokens.bytes_of(token)

    def end(self) -> str:
        """What was held back and is not the beginning of a stop after all."""
        last = self._read(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return last + held

    def _read(self, text: str) -> str:
        if self.stop:
            return ""
        self.stop, num_read = self._stops.feed(text)
        whole = self._held + text[:num_read]
        keep = len(whole) - (len(self.stop) or self._stops.num_held)
        self._held = "" if self.stop else whole[keep:]
        return whole[:keep]


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file, without the truncation and the padding that it may ask for. Raises FormatError."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise FormatError(f"{path.name} is larger than {_MAX_BYTES >> 20} MiB")
        file = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path.name} cannot be read: {error.strerror}") from error
    return tokenizer_of(file, path.name)


def tokenizer_of(document: bytes, label: str) -> Tokenizer:
    """The tokenizer that a file's bytes describe; errors call it `label`. Raises FormatError."""
    try:
        tokenizer = Tokenizer.from_buffer(document)
    except Exception as error:  # the library raises this very class for every fault of the file
        raise FormatError(
            f"{label} is no tokenizer: {str(error)[:300]}",
            hint="Export the model again, or pull it anew.",
        ) from error
    tokenizer.no_truncation()  # a file may ask for both: they are for training
    tokenizer.no_padding()
    return tokenizer


def _kind(tokenizer: Tokenizer) -> str:
    """How the vocabulary writes bytes: as GPT-2 does, as SentencePiece does, or as BERT does."""
    for part in (tokenizer.decoder, tokenizer.pre_tokenizer):
        for step in _steps(json.loads(part.__getstate__()) if part else {}):
            if (name := step.get("type")) in _KINDS:
                return _KINDS[name]
            if name == "Replace" and step.get("content") == " ":
                return "spaces"
    raise FormatError(
        "tokenizer.json: its decoder is of a kind that Hutch does not know",
        hint="Known are ByteLevel, Metaspace, ByteFallback and WordPiece.",
    )


def _steps(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = part.get("decoders") or part.get("pretokenizers")
    if inner is None:
        yield part
        return
    for each in inner:
        yield from _steps(each)


def _printed_bytes() -> dict[str, int]:
    """GPT-2's alphabet: each byte as a character that can be printed."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_PRINTED = _printed_bytes()


def _from_bytes(piece: str) -> bytes:
    if all(char in _PRINTED for char in piece):
        return bytes(_PRINTED[char] for char in piece)
    return piece.encode()  # not of this alphabet: the library takes it literally too


def _from_spaces(piece: str) -> bytes:
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE, " ").encode()


def _from_words(piece: str) -> bytes:
    return piece[2:].encode() if piece.startswith("##") else f" {piece}".encode()


_PIECES = {"bytes": _from_bytes, "spaces": _from_spaces, "words": _from_words}
