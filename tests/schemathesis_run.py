"""schemathesis against a running server: requests made from /openapi.json, and replies held against it."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import Server, clean_environment

ROOT = Path(__file__).parents[1]
# Left out: that whatever fits the description is taken. Ranges that hang together, and what a model can do, are not in it.
_LEFT_OUT = "positive_data_acceptance"
_PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"


def run(server: Server, *words: str, within_s: float) -> subprocess.CompletedProcess[str]:
    """Test every route that is described; `words` are further ones of its command line."""
    return subprocess.run(
        [
            *(sys.executable, "-c", _PROGRAM, "run", f"{server.url}/openapi.json"),
            *("--checks", "all", "--exclude-checks", _LEFT_OUT),
            *("--no-color", "--continue-on-failure", "--no-shrink"),
            *("--suppress-health-check", "all", "--request-timeout", "60", *words),
        ],
        cwd=server.home,
        env=clean_environment(SCHEMATHESIS_HOOKS="tests.schemathesis_hooks", PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )
