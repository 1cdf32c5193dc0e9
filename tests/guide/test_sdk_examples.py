"""The deployment guide's programs as the SDKs write them, and every program that a page about the SDKs shows: run as printed.

The models are small stand-ins of the guide's names.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MODEL, Server, clean_environment, free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = ("sdk/python/README.md", "sdk/node/README.md", "docs/sdk.md")
EXAMPLES = sorted([*(ROOT / "sdk/python/examples").iterdir(), *(ROOT / "sdk/node/examples").iterdir()])
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def shown(language: str) -> list[tuple[str, str]]:
    """The programs in the pages: where each stands, and its text."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        (page, text) for page in PAGES for text in fence.findall((ROOT / page).read_text(encoding="utf-8"))
    ]


@pytest.fixture(scope="module")
def house(serve: Callable[..., Server], models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with the guide's models, whose answers end at their first sentence."""
    models = tmp_path_factory.mktemp("sdk") / "models"
    shutil.copytree(models_dir, models, copy_function=os.link)
    server = serve(models)
    for name in ("qwen2.5:3b", "phi4:mini", "nomic-embed-text"):
        body = {
            "model": name,
            "from": MODEL,
            "parameters": {"num_predict": 40, "stop": ["."]},
            "stream": False,
        }
        assert server.post("/api/create", body)[0] == 200
    return server


@pytest.fixture
def run(house: Server, tmp_path: Path) -> Run:
    """Run a program where `hutch` is the SDK and `express` a stand-in that sends one request when it gets its route."""
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "hutch").symlink_to(ROOT / "sdk" / "node")
    (modules / "express").mkdir()
    shutil.copy(Path(__file__).parent / "express.js", modules / "express" / "index.js")

    def start(text: str, name: str, host: str = "") -> "subprocess.CompletedProcess[str]":
        (tmp_path / name).write_text(text, encoding="utf-8")
        return subprocess.run(
            [sys.executable if name.endswith(".py") else "node", name],
            cwd=tmp_path,
            env=clean_environment(HUTCH_HOST=host or house.url),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return start


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_as_printed(run: Run, example: Path) -> None:
    done = run(example.read_text(encoding="utf-8"), example.name)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip(), done.stderr) != ("", "")
    if "make" in example.name:
        lines = done.stdout.splitlines()
        assert "success" in lines
        assert lines[-1].startswith("404 model 'enterprise-assistant' not found")
        assert any(re.fullmatch(r"enterprise-assistant\S* \d+ MiB ready", line) for line in lines)


@pytest.mark.parametrize("is_up", [True, False])
def test_the_express_program_answers_or_says_500(run: Run, is_up: bool) -> None:
    example = ROOT / "sdk/node/examples/express.mjs"
    done = run(example.read_text(encoding="utf-8"), "app.mjs", "" if is_up else f"127.0.0.1:{free_port()}")
    status, _, told = done.stdout.splitlines()[-1].partition(" ")
    assert status == ("200" if is_up else "500"), done.stderr
    assert json.loads(told)["response" if is_up else "error"]
    assert ("could not connect" in done.stderr) != is_up


@pytest.mark.parametrize(("page", "text"), shown("python"))
def test_a_program_in_python_on_a_page(run: Run, page: str, text: str) -> None:
    done = run(text, "program.py")
    assert (done.returncode, done.stderr) == (0, ""), page
    assert done.stdout.strip()


@pytest.mark.parametrize(("page", "text"), shown("js"))
def test_a_program_in_javascript_on_a_page(run: Run, page: str, text: str) -> None:
    done = run(text, "program.mjs")
    assert (done.returncode, done.stderr) == (0, ""), page
    assert done.stdout.strip()
    for said in re.findall(r"console\.log\(.*\) // (.+)", text):
        assert said in done.stdout
