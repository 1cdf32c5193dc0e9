"""Clients of OpenAI's and Anthropic's APIs against Hutch, on both engines: `pytest -m clients tests/clients/test_openai_clients.py`.

Each suite also runs over a worker that keeps to a script, so that a failure with a model alone is the model's. Those are in
limits_openai.json, by engine, with the prompt and what was said to it: neither more nor less may fail.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import onnx_encoders
from tests.clients import tooled
from tests.clients.test_clients import SUITES, scripted
from tests.conftest import ENGINES, MODEL, Server, clean_environment, weights_in

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]
_NEWEST = ("openai", "anthropic", "langchain-openai", "langchain-tests")
PACKAGES = {
    "with_openai": _NEWEST,
    "with_anthropic": _NEWEST,
    "with_langchain_openai": _NEWEST,
    "with_litellm": ("litellm", "mcp", "pytest", "pytest-asyncio"),  # an older openai; mcp for its responses
}
NODE_PACKAGES = ("openai", "ai", "@ai-sdk/openai-compatible", "zod")
SCRIPT = "script"
LIMITS: Mapping[str, Mapping[str, object]] = json.loads(
    (Path(__file__).parent / "limits_openai.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class House:
    """A server whose models are called as the suites ask for them, and the ids of the tests that its model is too small for."""

    server: Server
    limits: frozenset[str]

    def run(self, words: list[object], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program in this folder that asks this server."""
        return subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            env=clean_environment(OLLAMA_HOST=self.server.url, LITELLM_LOCAL_MODEL_COST_MAP="True", **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=1500,
        )

    def check(self, suite: str, record: Path) -> None:
        """See that those tests of a suite failed that stand in the limits, and no other."""
        kept = json.loads(record.read_text("utf-8"))
        failed = {
            f"{suite}::{name}": {**last, "output": _said(last.get("output", ""))}
            for name, last in kept.items()
        }
        expected = {name for name in self.limits if name.startswith(f"{suite}::")}
        told = json.dumps(failed, indent=1, ensure_ascii=False)
        assert set(failed) == expected, f"as limits_openai.json would have it: {told}"


@pytest.fixture(scope="module", params=[*ENGINES, SCRIPT])
def house(
    request: pytest.FixtureRequest,
    serve: Callable[..., Server],
    stocked: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> House:
    """A server for each engine, and one for the script."""
    folder = tmp_path_factory.mktemp("house")
    is_scripted = request.param == SCRIPT
    models = folder / "models"
    engine = ENGINES[0] if is_scripted else request.param
    shutil.copytree(stocked(engine), models, copy_function=os.link)
    server = serve(models, LLAMA_SERVER=str(scripted(folder))) if is_scripted else serve(models)
    settled = "PARAMETER temperature 0\nPARAMETER seed 1\n"  # what is not asked otherwise comes out the same each time
    made = {
        "llama3.1": f"FROM {tooled.write(weights_in(stocked(ENGINES[0])), folder / 'tooled', engine)}\n{settled}",
        "embedder": f"FROM {_embedder(folder, engine)}\n",
    }
    for name, text in made.items():
        (folder / "Modelfile").write_text(text, encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "hutch", "create", name, "-f", str(folder / "Modelfile")],
            env=clean_environment(HUTCH_MODELS=str(models), HUTCH_HOST=server.url),
            check=True,
            timeout=300,
        )
    return House(server, frozenset(LIMITS.get(request.param, ())))


def _embedder(folder: Path, engine: str) -> str:
    """What gives vectors: with llama.cpp any model, in ONNX one that was made for it."""
    return MODEL if engine == ENGINES[0] else str(onnx_encoders.encoder(folder / "embedder").folder)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Path]:
    """Python environments by the packages in them, each made once."""

    @functools.cache
    def made(packages: tuple[str, ...]) -> Path:
        folder = tmp_path_factory.mktemp("python")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True)
        return folder / "bin" / "python"

    return made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients of Node.js in it."""
    folder = tmp_path_factory.mktemp("node")
    subprocess.run(["npm", "install", "--silent", *NODE_PACKAGES], cwd=folder, check=True, timeout=300)
    return folder


@pytest.mark.parametrize("suite", PACKAGES)
def test_a_suite_of_python(
    suite: str, house: House, python: Callable[[tuple[str, ...]], Path], tmp_path: Path
) -> None:
    words = [
        python(PACKAGES[suite]),
        "-m",
        "pytest",
        "-q",
        "-c",
        "/dev/null",
        "--rootdir",
        SUITES,
        "--tb=short",
    ]
    words += ["--noconftest", "-p", "no:cacheprovider", "-p", "last_sent", "-o", "asyncio_mode=auto"]
    for scope in ("fixture", "test"):  # langchain-openai keeps its connections from one test to the next
        words += ["-o", f"asyncio_default_{scope}_loop_scope=session"]
    record = tmp_path / "failed.json"
    done = house.run([*words, SUITES / f"{suite}.py"], tmp_path, RECORD=str(record), PYTHONPATH=str(SUITES))
    print(done.stdout[-20_000:], done.stderr[-3000:])
    assert done.returncode in (0, 1)
    house.check(suite, record)


@pytest.mark.parametrize("suite", ["with_openai", "with_ai_sdk"])
def test_a_suite_of_node(suite: str, house: House, node: Path) -> None:
    for name in (suite, "last_sent"):
        shutil.copy(SUITES / f"{name}.mjs", node)
    record = node / "failed.json"
    record.unlink(missing_ok=True)
    words: list[object] = ["node", "--import", "./last_sent.mjs", "--test-reporter=tap", f"{suite}.mjs"]
    done = house.run(words, node, RECORD=str(record))
    print(done.stdout[-20_000:], done.stderr[-3000:])
    assert done.returncode in (0, 1)
    assert "\n# pass 0\n" not in done.stdout
    house.check(f"{suite}.mjs", record)


def _said(output: str) -> Any:
    """What was said, without the numbers and times that are another each time."""
    try:
        whole = json.loads(output)
    except ValueError:
        return "".join(_piece(line) for line in output.splitlines() if line.startswith("data: {"))
    message = whole["choices"][0].get("message") if whole.get("choices") else None
    return message or whole.get("content") or whole.get("output") or whole


def _piece(line: str) -> str:
    event = json.loads(line.removeprefix("data: "))
    choices = event.get("choices") or [{}]
    delta = event.get("delta") or choices[0].get("delta") or {}
    if isinstance(delta, str):
        return delta
    calls = "".join(json.dumps(call["function"]) for call in delta.get("tool_calls") or ())
    return (delta.get("content") or delta.get("text") or delta.get("partial_json") or "") + calls
