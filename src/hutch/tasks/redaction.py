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
_PHONE_LEAD = r"(?:\+\d{1,3}|00\d{1,3}|\(0?\d{1,5}\)|0\d{1,5}|\d{3}(?=[ .-]\d{3}[ .-]\d{4}(?!\d)))"
_PHONE_BEGINS = re.compile(_PHONE_LEAD)
_PHONE_BEGINS_A_WORD = re.compile(rf"(?<![\w.,/+-]){_PHONE_LEAD}")
_PHONE_GROUP = re.compile(r"([ ./()-]{0,3}+)(\d{1,15}+)(?!\w)")
_BETWEEN_PHONES = re.compile(r"[ ,;./-]{0,3}+")
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_DATE = re.compile(rf"(?:\d{{4}}([./-]){_DAY}\1{_DAY}|{_DAY}([./-]){_DAY}\2(?:\d{{4}}|\d\d))(?![./-]?\d)")
_TIME_OR_AMOUNT = re.compile(r"\d{1,2}:\d\d(?!\d)|\d+,\d\d(?!\d)")
_IBAN_CHARS = range(15, 35)  # from Norway's to the longest that the standard allows
_CARD_DIGITS = range(13, 20)
_LEAST_PHONE_DIGITS, _MOST_PHONE_DIGITS = 7, 15  # the latter by E.164
_MOST_PHONE_GROUPS = 6  # behind what it begins with
_LEAST_CARD_GROUP = 4  # digits, but for the last
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
    left, found = text, []
    for rule in (each for each in RULES if each in rules):
        new = [Finding(rule, start, end) for start, end in _FINDERS[rule](left)]
        left = _replaced(
            left, new, lambda each: "\n" * (each.end - each.start)
        )  # no rule reaches across those
        found += new
    return tuple(sorted(found, key=lambda each: each.start))


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
    return _replaced(text, findings, lambda finding: f"[{finding.kind.upper()}]")


def _replaced(text: str, findings: Iterable[Finding], by: Callable[[Finding], str]) -> str:
    pieces, at = [], 0
    for finding in findings:
        pieces += [text[at : finding.start], by(finding)]
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
        if last > first and groups[last - 1][1] - groups[last - 1][0] < _LEAST_CARD_GROUP:
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
    at = 0
    while found := _PHONE_BEGINS_A_WORD.search(text, at):
        start, at = found.span()
        while end := _phone_end(text, start):
            yield start, end
            between = _BETWEEN_PHONES.match(text, end)
            start, at = between.end() if between else end, end


def _phone_end(text: str, start: int, *, is_alone: bool = False) -> int | None:
    """Where a number that begins here ends: as late as it can, but before what is something else once it may end.

    `is_alone`: no other number is looked for behind it.
    """
    lead = _PHONE_BEGINS.match(text, start)
    if lead is None or _DATE.match(text, start):
        return None
    num_digits, end = sum(map(str.isdigit, lead[0])), lead.end()
    for _ in range(_MOST_PHONE_GROUPS):
        group = _PHONE_GROUP.match(text, end)
        if group is None or num_digits + len(group[2]) > _MOST_PHONE_DIGITS:
            break
        may_end = num_digits >= _LEAST_PHONE_DIGITS and end > lead.end()
        if may_end and _is_apart(text, group, is_alone=is_alone):
            break
        num_digits, end = num_digits + len(group[2]), group.end()
    return end if end > lead.end() and num_digits >= _LEAST_PHONE_DIGITS else None


def _is_apart(text: str, group: re.Match[str], *, is_alone: bool) -> bool:
    """Whether digits behind a telephone number are a date, a time, an amount, in brackets, or the next number."""
    at = group.start(2)
    is_other = "(" in group[1] or _DATE.match(text, at) or _TIME_OR_AMOUNT.match(text, at)
    return bool(is_other) or (not is_alone and _phone_end(text, at, is_alone=True) is not None)


_FINDERS: Mapping[Rule, Callable[[str], Iterator[tuple[int, int]]]] = {
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "phone": _phones,
}
