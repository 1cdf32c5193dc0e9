"""Redaction: which parts of a text are to go, found by rules, and the text without them. Pure.

Where a number has a checksum it decides, so that an account number is told from an order number. A phone number has none:
it is guessed from its shape.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Rule = Literal["email", "iban", "card", "phone"]
RULES: tuple[Rule, ...] = ("email", "iban", "card", "phone")  # in the order in which they take what they find

# Each expression goes through a text once: what may repeat is possessive, or begins where nothing like it stands before.
_EMAIL = re.compile(r"(?<![\w.%+'-])[\w.%+'-]++@(?:[\w-]++\.)+[^\W\d_](?:-*+[^\W_]){1,62}+")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ -]?[A-Za-z0-9])")
_GROUP = re.compile(r"[ -]?([A-Za-z0-9]+)")
_DIGITS = re.compile(r"(?<![0-9A-Za-z])[0-9]++(?![A-Za-z])")
_PHONE = re.compile(
    r"(?<![\w.,/+-])"
    r"(?:\+\d{1,3}|00\d{1,3}|\(0?\d{1,5}\)|0\d{1,5}|\d{3}(?=[ .-]\d{3}[ .-]\d{4}(?!\d)))"
    r"(?:[ ./()-]{0,3}+\d++){1,6}+(?!\w)"
)
_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}")
_IBAN_CHARS = range(15, 35)  # from Norway's to the longest that the standard allows
_CARD_DIGITS = range(13, 20)
_PHONE_DIGITS = range(7, 16)  # E.164 has at most 15
_FREE = re.compile(rb"\0+")
_WORDS = re.compile(
    r"[^\s!-/:-@[-`{-~](?:.*[^\s!-/:-@[-`{-~])?", re.DOTALL
)  # without blanks and signs around them
_CARD_BEGINNINGS = "23456"  # of the networks of payment cards; others number flights and fuel


@dataclass(frozen=True, slots=True)
class Finding:
    """A part of a text that is to go: characters `start` to `end`, and whether a rule or a model found it."""

    kind: str
    start: int
    end: int
    by: Literal["rule", "model"] = "rule"


def by_rules(text: str, rules: Sequence[Rule] = RULES) -> tuple[Finding, ...]:
    """What these rules find, in the text's order. Where two meet, the one with more to go by has it."""
    return _apart(
        text,
        (Finding(rule, start, end) for rule in RULES if rule in rules for start, end in _FINDERS[rule](text)),
    )


def by_names(text: str, named: Iterable[tuple[str, str]]) -> tuple[Finding, ...]:
    """Every place where one of these pairs of kind and words stands in the text as a word, whatever white space is in it.

    What does not stand there is none.
    """
    longest_first = sorted(set(named), key=lambda pair: (-len(pair[1]), pair))
    spelt = [(kind, r"\s+".join(map(re.escape, words.split()))) for kind, words in longest_first]
    return _apart(
        text,
        (
            Finding(kind, found.start(), found.end(), "model")
            for kind, words in spelt
            if words
            for found in re.finditer(rf"(?<!\w){words}(?!\w)", text)
        ),
    )


def together(text: str, first: Iterable[Finding], second: Iterable[Finding]) -> tuple[Finding, ...]:
    """Both, in the text's order; where they meet, the first has it."""
    return _apart(text, (*first, *second))


def without(text: str, findings: Iterable[Finding]) -> str:
    """The text with each finding's kind in its place: `[EMAIL]`."""
    pieces, at = [], 0
    for finding in findings:
        pieces += [text[at : finding.start], f"[{finding.kind.upper()}]"]
        at = finding.end
    return "".join([*pieces, text[at:]])


def _apart(text: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings in the text's order; of one that meets others before it, the words that these leave."""
    taken = bytearray(len(text))
    kept = []
    for finding in findings:
        for start, end in _left(text, taken, finding):
            taken[start:end] = b"" * (end - start)
            kept.append(replace(finding, start=start, end=end))
    return tuple(sorted(kept, key=lambda each: each.start))


def _left(text: str, taken: bytearray, finding: Finding) -> list[tuple[int, int]]:
    whole = finding.start, finding.end
    if not any(taken[slice(*whole)]):
        return [whole]
    stretches = (_WORDS.search(text, *free.span()) for free in _FREE.finditer(taken, *whole))
    return [words.span() for words in stretches if words]


def _emails(text: str) -> Iterator[tuple[int, int]]:
    return (found.span() for found in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for found in _IBAN.finditer(text):
        ends, at, chars = [], found.start(), ""
        while (group := _GROUP.match(text, at)) and len(chars) + len(group[1]) < _IBAN_CHARS.stop:
            chars, at = chars + group[1], group.end()
            ends.append((chars, at))
        end = next((end for chars, end in reversed(ends) if _is_iban(chars)), None)
        if end is not None:
            yield found.start(), end


def _is_iban(chars: str) -> bool:
    """By ISO 13616: the first four characters put last, letters counted from 10, leave 1 when divided by 97."""
    return (
        len(chars) in _IBAN_CHARS and int("".join(str(int(c, 36)) for c in chars[4:] + chars[:4])) % 97 == 1
    )


def _cards(text: str) -> Iterator[tuple[int, int]]:
    groups = [found.span() for found in _DIGITS.finditer(text)]
    first = 0
    while first < len(groups):
        last = _card_from(text, groups, first)
        if last is not None:
            yield groups[first][0], groups[last][1]
        first = first + 1 if last is None else last + 1


def _card_from(text: str, groups: Sequence[tuple[int, int]], first: int) -> int | None:
    """The last of the groups of digits that make a card's number from `first` on."""
    digits, last, found = "", first, None
    while last < len(groups) and len(digits) + groups[last][1] - groups[last][0] < _CARD_DIGITS.stop:
        if last > first and text[groups[last - 1][1] : groups[last][0]] not in (" ", "-"):
            break
        digits += text[slice(*groups[last])]
        if len(digits) in _CARD_DIGITS and digits[0] in _CARD_BEGINNINGS and _is_luhn(digits):
            found = last
        last += 1
    return found


def _is_luhn(digits: str) -> bool:
    """By ISO 7812: every second digit from the right doubled, the digits' sum is a multiple of ten."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for found in _PHONE.finditer(text):
        num_digits = sum(each.isdigit() for each in found[0])
        if num_digits in _PHONE_DIGITS and not _DATE.match(found[0]):
            yield found.span()


_FINDERS: Mapping[Rule, Callable[[str], Iterator[tuple[int, int]]]] = {
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "phone": _phones,
}
