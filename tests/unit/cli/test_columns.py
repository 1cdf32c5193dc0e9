"""Tables, sizes and times."""

from datetime import UTC, datetime, timedelta

import pytest

from hutch.cli import columns
from hutch.cli.models import processor, until

_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_aligns_columns_and_leaves_no_spaces_at_the_end() -> None:
    shown = columns.table(
        ("NAME", "ID", "SIZE"), [("smollm2:135m", "0123456789ab", "98 MB"), ("a", "b", "1.3 GB")]
    )
    assert shown == (
        "NAME            ID              SIZE\n"
        "smollm2:135m    0123456789ab    98 MB\n"
        "a               b               1.3 GB"
    )


def test_shows_the_heads_of_an_empty_table() -> None:
    assert columns.table(("NAME", "ID"), []) == "NAME    ID"


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (1500, "1.5 KB"),
        (98_374_128, "98 MB"),
        (1_321_098_329, "1.3 GB"),
        (2_019_393_189, "2.0 GB"),
        (13_000_000_000, "13 GB"),
        (5_000_000_000_000, "5 TB"),
    ],
)
def test_sizes_are_decimal(size_bytes: int, shown: str) -> None:
    assert columns.human_size(size_bytes) == shown


@pytest.mark.parametrize(
    ("ago", "shown"),
    [
        (timedelta(milliseconds=10), "Less than a second ago"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(seconds=61), "About a minute ago"),
        (timedelta(minutes=59), "59 minutes ago"),
        (timedelta(minutes=61), "About an hour ago"),
        (timedelta(hours=47), "47 hours ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(days=15), "2 weeks ago"),
        (timedelta(days=70), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(minutes=-5, seconds=1), "4 minutes from now"),
        (timedelta(days=-40_000), "Forever"),
    ],
)
def test_times_are_as_people_say_them(ago: timedelta, shown: str) -> None:
    assert columns.human_time((_NOW - ago).isoformat(), now=_NOW) == shown


def test_reads_what_gos_clock_writes() -> None:
    assert columns.human_time("2026-11-22T13:59:00.123456789+02:00", now=_NOW) == "59 seconds ago"
    assert columns.human_time("0001-01-01T00:00:00Z", now=_NOW) == "Never"
    assert columns.human_time(None) == "Forever"


@pytest.mark.parametrize(
    ("size", "vram", "shown"),
    [
        (100, 0, "100% CPU"),
        (100, 100, "100% GPU"),
        (100, 52, "48%/52% CPU/GPU"),
        (0, 5, "Unknown"),
    ],
)
def test_tells_where_a_model_lies(size: int, vram: int, shown: str) -> None:
    assert processor(size, vram) == shown


def test_a_model_past_its_time_is_stopping() -> None:
    assert until("2020-01-01T00:00:00Z") == "Stopping..."
    assert until("9999-12-31T23:59:59+00:00") == "Forever"
