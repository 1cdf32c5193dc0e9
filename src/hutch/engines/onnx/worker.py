"""The program of an ONNX worker: reads a launch plan, and serves it until standard input ends."""

import ctypes
import logging
import os
import signal
import sys
import threading

from hutch.core.errors import HutchError
from hutch.engines.onnx import loading, server
from hutch.engines.protocol import LaunchPlan

_log = logging.getLogger(__name__)


def main() -> None:
    """Serve one model until the front closes the pipe or sends SIGTERM."""
    os.umask(0o177)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    plan = LaunchPlan.loads(sys.stdin.buffer.readline())
    _die_with_parent()
    threading.Thread(target=_end_with_input, daemon=True).start()
    application = server.Application(plan.endpoint.secret)

    async def load() -> None:
        application.wire = await loading.load(plan)

    try:
        server.serve(application, plan.endpoint, load)
    except HutchError as error:
        _log.error("error: %s. %s", error.message, error.hint)
        os._exit(1)
    os._exit(0)  # threads that compute have nothing to save


def _end_with_input() -> None:
    sys.stdin.buffer.read()  # until the front is gone
    os._exit(0)


def _die_with_parent() -> None:
    """On Linux, ask the kernel to end this process with the front, even where the front is killed."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main()
