"""Answers held to a form: JSON, a JSON Schema, a regular expression, a grammar. By llguidance, over a model's own tokens."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, grammar_from
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
    """Makes constraints for one model. `path`: its tokenizer.json; `vocab_size`: how many logits it has.

    Raises EngineFailed for a tokenizer that llguidance cannot read, or one without an end of text.
    """

    def __init__(self, path: Path, tokens: Tokens, vocab_size: int) -> None:
        if not tokens.eos:
            raise EngineFailed(
                "the model names no token that ends an answer",
                hint="Give eos_token_id in genai_config.json.",
            )
        self._tokens = tokens
        self._vocab_size = vocab_size
        try:
            self._tokenizer = LLTokenizer(
                str(path), n_vocab=max(vocab_size, tokens.size), eos_token=sorted(tokens.eos)
            )
        except ValueError as error:
            raise EngineFailed(f"this tokenizer cannot hold answers to a format: {error}") from error

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
        try:
            grammar = grammar_from("grammar", text)
        except ValueError as error:
            raise _complaint("the grammar", str(error)) from error
        return self._start("the grammar", grammar)

    def literal(self, text: str) -> str:
        """A text as it stands in a Lark grammar: the token of that name where it is a special one, else its characters."""
        token = self._tokens.id_of(text)
        return f"<[{token}]>" if token in self._tokens.special else json.dumps(text)

    def _start(self, what: str, grammar: str) -> "Constraint":
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            raise _complaint(what, matcher.get_error())
        return Constraint(matcher, self._vocab_size, self._tokens.eos)


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
