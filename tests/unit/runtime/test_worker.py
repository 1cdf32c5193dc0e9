"""What is told of an engine that could not load."""

from pathlib import Path

import pytest

from hutch.engines.protocol import Endpoint, LaunchPlan
from hutch.runtime import machine
from hutch.runtime.worker import Worker, _engine_environment

_PLAN = LaunchPlan("w", Endpoint(), num_ctx=8, num_slots=1, num_batch=8, num_ubatch=8, num_thread=1)
_DEBUGGER = """[New LWP 4712]
[Thread debugging using libthread_db enabled]
Using host libthread_db library "/lib/x86_64-linux-gnu/libthread_db.so.1".
0x00007f1d0 in __GI___wait4 (pid=4711) at ../sysdeps/wait4.c:30
#0  0x00007f1d0 in __GI___wait4 (pid=4711) at ../sysdeps/wait4.c:30
#1  0x00007f1d1 in ggml_print_backtrace () from libggml-base.so
[Inferior 1 (process 4711) detached]
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            "loading\n/src/ggml.c:123: GGML_ASSERT(n > 0) failed\n" + _DEBUGGER,
            "/src/ggml.c:123: GGML_ASSERT(n > 0) failed",
        ),
        ("terminate called after throwing\n" + _DEBUGGER, "terminate called after throwing"),
        ("0.1 E srv load: failed\n0.2 E srv main: exiting\n", "0.1 E srv load: failed"),
        (_DEBUGGER, "it said nothing"),
        ("", "it said nothing"),
    ],
)
def test_a_debugger_s_words_are_no_reason(tmp_path: Path, log: str, words: str) -> None:
    path = tmp_path / "worker.log"
    path.write_text(log)
    assert Worker(_PLAN, path)._last_words() == words


@pytest.mark.parametrize(("num_thread", "is_bound"), [(1, False), (4, True), (8, False)])
def test_threads_have_a_core_each_where_there_are_as_many(
    monkeypatch: pytest.MonkeyPatch, num_thread: int, is_bound: bool
) -> None:
    monkeypatch.setattr(machine, "num_physical", lambda: 4)
    told = _engine_environment(num_thread)
    assert "GOMP_SPINCOUNT" in told
    assert ("OMP_PROC_BIND" in told) == is_bound
