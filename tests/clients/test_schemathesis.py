"""schemathesis at length, on both engines: `pytest -m clients tests/clients/test_schemathesis.py`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import schemathesis_run
from tests.conftest import EVERY_ENGINE, Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800), EVERY_ENGINE]


def test_no_route_fails_or_answers_otherwise_than_described(
    serve: Callable[..., Server], models_copy: Path
) -> None:
    done = schemathesis_run.run(
        serve(models_copy),
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "-n",
        "30",
        "--generation-database",
        "none",
        within_s=1700,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
