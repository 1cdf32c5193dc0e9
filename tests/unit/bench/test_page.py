"""The part of a page that a run writes, and its pictures."""

import xml.etree.ElementTree as ET

import pytest

from bench import page, picture
from bench.compare import Plan, Report
from bench.figures import Turn
from bench.servers import Peer
from bench.targets import verdicts
from bench.workloads import WORKLOADS
from hutch.optimize.picture import HEIGHT, WIDTH, Circle, Shape, document

ABOUT = {
    "model": "m:1",
    "machine": {
        "date": "2026-11-23", "processor": "P", "cores": 2, "memory_gib": 3, "system": "L", "python": "3.11", "load_average": [0.5]
    },
    "versions": {"hutch": "1", "llama-server": "b2"},
}  # fmt: skip


def report() -> Report:
    """Two servers at 4 and at 8 at once; one has failed at 8."""
    turns = [
        Turn(1, "4 at once", {"total": {"Hutch": 90.0, "y": 45.0}, "slowest first token": {"Hutch": 10.0, "y": 40.0}}, {},
             {"Hutch": [20], "y": [30]}, {"Hutch": [1], "y": [64]}, {"Hutch": 1}),
        Turn(1, "8 at once", {"total": {"Hutch": 120.0}, "slowest first token": {"Hutch": 10.0}}, {"y": ["500: a|b\nc"]}, {}, {}, {}),
    ]  # fmt: skip
    peers = (Peer("Hutch", "hutch-built"), Peer("y", "yardstick"))
    workloads = tuple(each for each in WORKLOADS if each.name in ("4 at once", "8 at once"))
    return Report(peers, Plan(workloads, "y", rounds=1), turns, was_cut=True)


def test_a_part_has_the_machine_the_date_the_verdicts_and_a_table_for_each_workload() -> None:
    found = report()
    part = page.part(found, ABOUT, verdicts(found), ["benchmarks/ratios.svg"], "python -m bench.run")
    assert "2026-11-23, P, 2 cores" in part
    assert "hutch 1; llama-server b2" in part
    assert "| 8 at once: total | Hutch | y | 1.45 times | 2 |  | not measured |" in part
    assert "![benchmarks/ratios.svg](benchmarks/ratios.svg)" in part
    assert "### 4 at once" in part
    assert "| Hutch | 90.0 (90.0–90.0) | 2.00 | 10.0 (10.0–10.0) | 4.00 |" in part
    assert "| y | – |  | – |  |" in part
    assert "- 4 at once: prompts had 20 (Hutch), 30 (y) tokens on average" in part
    assert "- 4 at once: 1 of 2 answers ended before they were asked to" in part
    assert "- 1 × 8 at once, y: 500: a|b c" in part
    assert "stopped after" in part


def test_a_command_is_shown_without_the_places_of_one_machine() -> None:
    words = ["--home", "/h/o/me", "--only", "short chat", "--server", "u=unix:/s,openai"]
    assert (
        page.shown(words) == "python -m bench.run --home …/me --only 'short chat' --server u=unix:/s,openai"
    )


def test_a_page_keeps_what_stands_outside_the_markers() -> None:
    before = f"# Title\n\n{page.BEGIN}\nold\n{page.END}\n\nBy hand.\n"
    once = page.spliced(before, "new\n")
    assert once == f"# Title\n\n{page.BEGIN}\n\nnew\n\n{page.END}\n\nBy hand.\n"
    assert page.spliced(once, "new") == once


@pytest.mark.parametrize(
    "lines", [[], [page.BEGIN], [page.END, page.BEGIN], [page.BEGIN, page.END, page.END]]
)
def test_a_page_without_its_markers_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="once each"):
        page.spliced("\n".join(lines), "new")


def test_pictures_show_every_pair_inside_their_frame() -> None:
    found = report()
    colour_of = picture.colours([peer.name for peer in found.peers])
    assert _circles(picture.ratios(found.lines, "y", colour_of)) == 2 + 1  # two figures, and the legend
    assert _circles(picture.at_once(found.lines, colour_of)) == 3 + 2
    assert picture.at_once([], colour_of) == []


def _circles(shapes: list[Shape]) -> int:
    ET.fromstring(document(shapes))
    centres = [shape.centre for shape in shapes if isinstance(shape, Circle)]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in centres)
    return len(centres)
