"""Answers held to a form: JSON, a JSON Schema, a regular expression, a grammar. By llguidance, over a model's own tokens."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper, grammar_from
from numpy.typing import NDArray

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx.text import Tokens

MAX_FORM_CHARS = 1 << 18  # of a schema, an expression or a grammar
_MAX_COMPLAINT_CHARS = 300
# Work that a form may cause: for its compilation about 20 ms, for one token about 14 ms (measured by the library's makers).
_LIMITS = LLParserLimits(verbose_errors=False)
# As much space between JSON's parts as llama.cpp allows: a small model fills whole answers with it where it may.
_JSON_SPACE = r"( |\n{1,2}[ \t]{0,20})?"
_HINT = "Leave the format out, or make it simpler."


class Guidance:
    """Makes constraints for one model; safe in threads. `vocab_size`: how many logits it has. Raises EngineFailed for one without an end."""

    def __init__(self, tokens: Tokens, vocab_size: int) -> None:
        if not tokens.eos:
            raise EngineFailed(
                "the model names no token that ends an answer",
                hint="Give eos_token_id in genai_config.json.",
            )
        self._tokens = tokens
        self._vocab_size = vocab_size

    @staticmethod
    def inline(schema: Mapping[str, Any]) -> str:
        """A JSON Schema as it stands in a Lark grammar. Raises BadInput."""
        return f"%json {_dumped({**schema, 'x-guidance': {'whitespace_pattern': _JSON_SPACE}})}"

    def json_schema(self, schema: Mapping[str, Any] | bool) -> "Constraint":
        """Hold an answer to a JSON Schema; `{"type": "object"}` is any object. Raises BadInput for one that cannot be kept."""
        text = _dumped(schema)
        try:
            grammar = LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": _JSON_SPACE})
        except ValueError as error:
            raise _complaint("the JSON Schema", str(error)) from error
        return self._start("the JSON Schema", grammar)

    def regex(self, expression: str) -> "Constraint":
        """Hold an answer to a regular expression, as Rust's `regex` writes them. Raises BadInput."""
        _check_size("the regular expression", expression)
        return self._start("the regular expression", LLMatcher.grammar_from_regex(expression))

    def grammar(self, text: str) -> "Constraint":
        """Hold an answer to a grammar: llama.cpp's GBNF, or Lark as llguidance writes it. Raises BadInput."""
        _check_size("the grammar", text)
        if text.startswith("%llguidance"):  # as the front sends it
            return self._start("the grammar", LLMatcher.grammar_from_lark(text))
        try:
            grammar = grammar_from("grammar", text)
        except ValueError as error:
            raise _complaint("the grammar", str(error)) from error
        return self._start("the grammar", grammar)

    def lark(self, text: str) -> "Constraint":
        """Hold an answer to a grammar in Lark that was made here, of what a request asks for. Raises BadInput."""
        _check_size("what the request asks for", text)
        return self._start("what the request asks for", LLMatcher.grammar_from_lark(text))

    def literal(self, text: str) -> str:
        """A text as it stands in a Lark grammar: the token of that name where it is a special one, else its characters."""
        token = self._tokens.id_of(text)
        return f"<[{token}]>" if token in self._tokens.special else json.dumps(text)

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        """Takes some tenths of a second to make, which a conversation without a format need not wait for."""
        return LLTokenizer(
            TokenizerWrapper(_Vocabulary(self._tokens)),
            n_vocab=max(self._vocab_size, self._tokens.size),
            eos_token=sorted(self._tokens.eos),
        )

    def _start(self, what: str, grammar: str) -> "Constraint":
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise _complaint(what, matcher.get_error())
        return Constraint(matcher, self._vocab_size, self._tokens.eos)


class _Vocabulary:
    """Tokens as llguidance asks for them.

    Its own reader of tokenizer.json takes every added token in angle brackets for a special one, such as Qwen's `<tool_call>`:
    the mask allows it where that text is wanted, and it is then refused (llguidance 1.9.1).
    """

    def __init__(self, tokens: Tokens) -> None:
        self.eos_token_id = min(tokens.eos)
        self.bos_token_id = tokens.bos
        self.tokens = [tokens.bytes_of(token) for token in range(tokens.size)]
        self.special_token_ids = sorted(tokens.special | tokens.eos)
        self._encode = tokens.encode
        self._longest = max(map(len, self.tokens))
        self._by_bytes = {
            said: token for token, said in enumerate(self.tokens) if token not in tokens.special
        }

    def __call__(self, text: bytes) -> list[int]:
        """The tokens of a text in the middle of another, which is what a format forces."""
        for before in ("", "\n"):  # a line's end keeps off the space that some tokenizers put before a text
            lead = self._encode(before, parse_special=False)
            ids = self._encode(before + text.decode(), parse_special=False)[len(lead) :]
            if b"".join(self.tokens[token] for token in ids) == text:
                return ids
        return list(self._greedy(text))  # the tokenizer changes the text, say into lower case

    def _greedy(self, text: bytes) -> Iterator[int]:
        at = 0
        while at < len(text):
            sizes = range(min(self._longest, len(text) - at), 0, -1)
            size = next((size for size in sizes if text[at : at + size] in self._by_bytes), 0)
            if not size:
                return
            yield self._by_bytes[text[at : at + size]]
            at += size


class Constraint:
    """What may come next in one answer. Ask for the `mask`, choose a token by it, `accept` that, until it `is_complete`."""

    def __init__(self, matcher: LLMatcher, vocab_size: int, eos: frozenset[int]) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._eos = eos

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow but the end."""
        return bool(self._matcher.is_stopped())

    @property
    def may_end(self) -> bool:
        """Whether the answer may end here. The mask has the tokens that end it then."""
        return bool(self._matcher.is_accepting())

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next: [vocab_size]. Raises BadInput where finding that out takes too much work."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)

    def accept(self, token: int) -> None:
        """Go on from this token, which the mask allowed. Raises as `mask` does, and EngineFailed for another token."""
        is_end = token in self._eos and (self.may_end or self.is_complete)
        if not is_end and not self._matcher.validate_tokens([token]):
            self._check()
            raise EngineFailed(f"token {token} was chosen, and the format does not allow it there")
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        """All errors of a form that did compile are limits of the work it may cause."""
        if self._matcher.is_error():
            raise BadInput(f"the format cannot be followed: {_cut(self._matcher.get_error())}", hint=_HINT)


def _dumped(schema: object) -> str:
    try:
        text = json.dumps(schema, ensure_ascii=False)
        text.encode()
    except (RecursionError, UnicodeEncodeError, TypeError, ValueError) as error:
        raise _complaint("the JSON Schema", str(error)) from error
    _check_size("the JSON Schema", text)
    return text


def _check_size(what: str, text: str) -> None:
    if len(text) > MAX_FORM_CHARS:
        raise BadInput(f"{what} has more than {MAX_FORM_CHARS} characters", hint=_HINT)


def _complaint(what: str, why: str) -> BadInput:
    return BadInput(f"{what} cannot be used: {_cut(why)}", hint=_HINT)


def _cut(text: str) -> str:
    """A complaint as one line."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_COMPLAINT_CHARS else line[:_MAX_COMPLAINT_CHARS] + "…"
