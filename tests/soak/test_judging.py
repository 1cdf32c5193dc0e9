"""The soak's own verdicts: what counts as broken, and when memory is level."""

import os
import subprocess
import sys

import pytest

from tests.soak.asking import KINDS, Asker
from tests.soak.watching import Marks, children, process, rss_bytes

BY_NAME = {kind.name: kind for kind in KINDS}
SSE = b'data: {"choices":[]}\n\n'


@pytest.mark.parametrize(
    ("kind", "status", "content", "outcome"),
    [
        ("chat, stream", 200, b'{"done":false}\n{"done":true}\n', "answered"),
        ("chat, stream", 200, b'{"done":false}\n{"error":"worker died"}\n', "failed"),
        ("chat, stream", 200, b'{"done":false}\n', "broken"),
        ("chat, stream", 200, b"", "broken"),
        ("chat, stream", 200, b'{"error":""}\n', "broken"),
        ("chat, stream", 200, b'{"done":true}\n{"done":false}\n', "broken"),
        ("chat, stream", 200, b'{"done":fal', "broken"),
        ("v1 chat, stream", 200, SSE + b"data: [DONE]\n\n", "answered"),
        ("v1 chat, stream", 200, SSE + b'data: {"error":{"message":"died"}}\n\n', "failed"),
        ("v1 chat, stream", 200, SSE + b'data: {"error":{"message":"died"}}\n\ndata: [DONE]\n\n', "failed"),
        ("v1 chat, stream", 200, SSE + b'data: {"error":"died"}\n\n', "broken"),
        ("v1 chat, stream", 200, b'data: {"error":{"message":"died"}}\n\n' + SSE, "broken"),
        ("v1 chat, stream", 200, SSE, "broken"),
        ("v1 chat, stream", 200, b"data: [DONE]\n\n" + SSE, "broken"),
        ("chat", 200, b'{"done":true}', "answered"),
        ("chat", 200, b'{"error":"died"}', "broken"),
        ("chat", 502, b'{"error":"died"}', "failed"),
        ("chat", 502, b'{"error":{"message":"died"}}', "broken"),
        ("chat", 500, b"Internal Server Error", "broken"),
        ("v1 chat", 502, b'{"error":{"message":"died"}}', "failed"),
        ("v1 chat", 502, b'{"error":"died"}', "broken"),
        ("embed, no such model", 404, b'{"error":"not found"}', "answered"),
        ("embed, no such model", 500, b'{"error":"not found"}', "failed"),
        ("embed, no such model", 200, b"{}", "broken"),
    ],
)
def test_judges(kind: str, status: int, content: bytes, outcome: str) -> None:
    assert BY_NAME[kind].judge(status, content).outcome == outcome


def test_kinds_have_names_of_their_own_and_models_take_turns() -> None:
    assert len(BY_NAME) == len(KINDS)
    asker = Asker(1, ("a", "b"))
    bodies = [asker.body(BY_NAME["chat"]) for _ in range(4)]
    assert [body and body["model"] for body in bodies] == ["b", "a", "b", "a"]
    assert asker.body(BY_NAME["list"]) is None


def test_memory_is_compared_with_minute_two_or_with_a_first_steady_value() -> None:
    marks = Marks(600)
    growing = [(float(second), 1000 + second) for second in range(0, 601, 2)]
    old = marks.level(growing)
    assert old
    assert (old.start_bytes, old.reference_bytes, old.end_bytes) == (1000, 1120, 1595)
    restarted = marks.level([sample for sample in growing if sample[0] >= 540])
    assert restarted
    assert (restarted.start_bytes, restarted.reference_bytes) == (1540, 1555)
    assert restarted.change == pytest.approx(1595 / 1555 - 1)


def test_what_died_or_has_just_come_is_not_compared() -> None:
    marks = Marks(600)
    assert marks.level([]) is None
    assert marks.level([(float(second), 1) for second in range(0, 300, 2)]) is None
    assert marks.level([(float(second), 1) for second in range(590, 601, 2)]) is None


def test_sees_a_child_come_and_go() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        seen = process(child.pid)
        assert seen
        assert seen.is_there
        assert child.pid in children(os.getpid())
        assert rss_bytes(child.pid) > 0
    assert not seen.is_there
    assert rss_bytes(child.pid) == 0
