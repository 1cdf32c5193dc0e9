"""The API is what /openapi.json says: a few requests for each route. `pytest -m clients tests/clients/test_schemathesis.py` sends many."""

from collections.abc import Callable
from pathlib import Path

from tests import schemathesis_run
from tests.conftest import Server


def test_no_route_fails_or_answers_otherwise_than_described(
    serve: Callable[..., Server], models_copy: Path
) -> None:
    words = ("--phases", "examples,fuzzing", "-n", "3", "--generation-deterministic")
    done = schemathesis_run.run(serve(models_copy), *words, within_s=100)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
