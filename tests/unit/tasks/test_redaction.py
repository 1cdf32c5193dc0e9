"""What goes out of a text, and what stays."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.tasks.redaction import RULES, Finding, by_names, by_rules, together, without


def redacted(text: str) -> str:
    return without(text, by_rules(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to bob.o'neil+x@mail.example.co.uk.", "Write to [EMAIL]."),
        ("a@b.xn--p1ai, a@b.xn--p1ai-. and c@d.de--", "[EMAIL], [EMAIL]-. and [EMAIL]--"),
        ("<anna@exämple.de>, mailto:c@d.io", "<[EMAIL]>, mailto:[EMAIL]"),
        ("IBAN DE89 3704 0044 0532 0130 00 and more", "IBAN [IBAN] and more"),
        ("gb82west12345698765432; NO93 8601 1117 947", "[IBAN]; [IBAN]"),
        ("DE89-3704-0044-0532-0130-00", "[IBAN]"),
        ("room 12 4111 1111 1111 1111 exp 12/27", "room 12 [CARD] exp 12/27"),
        ("5500-0000-0000-0004, 378282246310005", "[CARD], [CARD]"),
        ("+1 (555) 123-4567 or 030/123456-78 or 555-123-4567", "[PHONE] or [PHONE] or [PHONE]"),
        ("Tel.:0301234567, 0049 30 1234567, (030) 1234567", "Tel.:[PHONE], [PHONE], [PHONE]"),
        ("+1\u00a0555 1234567", "+1\u00a0555 1234567"),  # docs/tasks.md says so
    ],
)
def test_what_is_found(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call +49 170 1234567 2024 now", "Call [PHONE] 2024 now"),  # more digits than a number has
        ("Tel. 030 1234567 12345678 paid", "Tel. [PHONE] 12345678 paid"),
        ("(555) 123-4567 12345678901", "[PHONE] 12345678901"),
        ("030 1234567 10117 Berlin", "[PHONE] Berlin"),  # no more than it has: they go too
        ("030 1234567 24.12.2025", "[PHONE] 24.12.2025"),
        ("030 1234567 - 24.12.25", "[PHONE] - 24.12.25"),
        ("+49 30 1234567 2024-12-24", "[PHONE] 2024-12-24"),
        ("555-123-4567 12/24/2025 12:30", "[PHONE] 12/24/2025 12:30"),
        ("2024-12-24 0170 1234567", "2024-12-24 [PHONE]"),
        ("030 1234567 9:30", "[PHONE] 9:30"),
        ("0170 1234567 100,50 EUR", "[PHONE] 100,50 EUR"),
        ("030 1234567 (12 o'clock)", "[PHONE] (12 o'clock)"),
        ("030 1234567 2x", "[PHONE] 2x"),
        ("555-123-4567 555-765-4321", "[PHONE] [PHONE]"),
        ("030 1234567 030 7654321", "[PHONE] [PHONE]"),
        ("030 1234567/0170 7654321,0301234567", "[PHONE]/[PHONE],[PHONE]"),
        ("030 1234567 Tel 030 1234568 10 20 30 40", "[PHONE] Tel [PHONE] 30 40"),
        ("01.23.45.67.89 or 01 02 03 04 05", "[PHONE] or [PHONE]"),
        ("01 02 03 04 05 06 07 08 09 10", "[PHONE] [PHONE]"),
        ("+1 555 123 4567 4111 1111 1111 1111", "[PHONE] [CARD]"),
        ("DE89 3704 0044 0532 0130 00 030 1234567", "[IBAN] [PHONE]"),
        ("555-123-4567 2024", "[PHONE]"),
    ],
)
def test_a_telephone_number_goes_whatever_digits_follow_it(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a@b and @home and x@localhost",
        "GB82WEST12345698765433 is off by one, AB12 too short",
        "order 4111111111111112 of 24.12.2025, 2025-12-24 and 12/24/2025",
        "192.168.100.200, 10.4.2, 0.1234567, 1,234,567.89 and 1 234 567",
        "ISBN 978-3-16-148410-0",
        "between 1990 and 2005, room 4471",
        "x0301234567 and 4111111111111111x",
        "no 3782822463100057x",
        "",
    ],
)
def test_what_stays(text: str) -> None:
    assert redacted(text) == text


def test_only_the_rules_that_are_asked_for_count() -> None:
    text = "a@b.de 4111111111111111"
    assert without(text, by_rules(text, ["card"])) == "a@b.de [CARD]"
    assert by_rules(text, []) == ()


def test_names_are_found_wherever_they_stand_as_words() -> None:
    text = "Anna Berg and Anna met Anna-Lena; Annabel was away. (Anna)"
    found = by_names(
        text, [("person", "Anna"), ("person", "Anna Berg"), ("person", " "), ("person", "Nobody")]
    )
    assert without(text, found) == "[PERSON] and [PERSON] met [PERSON]-Lena; Annabel was away. ([PERSON])"
    assert {each.by for each in found} == {"model"}


def test_what_a_rule_found_is_not_found_again() -> None:
    text = "Anna at anna@b.de"
    found = together(text, by_rules(text), by_names(text, [("person", "Anna"), ("person", "anna@b.de")]))
    assert without(text, found) == "[PERSON] at [EMAIL]"


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("Call Smith +49 170 1234567 now", ["Smith +49 170 1234567"], "Call [PERSON] [PHONE] now"),
        ("Anna Smith Jones", ["Anna Smith", "Smith Jones"], "[PERSON] [PERSON]"),
        ("Anna <anna@b.de>, Bob", ["Anna <anna@b.de>, Bob"], "[PERSON] <[EMAIL]>, [PERSON]"),
        ("at anna@b.de -", ["anna@b.de -"], "at [EMAIL] -"),
        ("IBAN DE89 3704 0044 0532 0130 00 4111 1111 1111 1111", [], "IBAN [IBAN] [CARD]"),
    ],
)
def test_of_what_was_found_in_part_the_rest_goes_too(text: str, names: list[str], expected: str) -> None:
    named = by_names(text, [("person", name) for name in names])
    assert without(text, together(text, by_rules(text), named)) == expected


def test_names_are_found_across_lines() -> None:
    text = "John\nSmith, John \t Smith and JohnSmith"
    assert without(text, by_names(text, [("person", "John Smith")])) == "[PERSON], [PERSON] and JohnSmith"


@given(st.text(alphabet="a@.b0 1+4-()/,5xDE89\n", max_size=200))
def test_findings_lie_apart_and_in_order(text: str) -> None:
    found: tuple[Finding, ...] = by_rules(text)
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))
    assert all(0 <= each.start < each.end <= len(text) and each.kind in RULES for each in found)
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.@",
        "0",
        "0 ",
        "01 ",
        "01 2345 ",
        "0301234567 ",
        "AB12 ",
        "a@b.",
        "a@b.c-",
        "1-",
        "(0",
        "+1 ",
        "4111 ",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    began = time.process_time()
    by_rules(piece * (100_000 // len(piece)))
    assert time.process_time() - began < 10
