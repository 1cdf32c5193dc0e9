"""Programs that were written for Ollama, run against Hutch: `pytest -m clients`.

They are fetched from the registries of their languages, and speak to small models under the names that they ask for.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Server, clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]
SUITES = Path(__file__).parent / "suites"
PACKAGES = (
    "ollama",
    "langchain-ollama",
    "langchain-tests",
    "llama-index-llms-ollama",
    "pydantic",
    "rich",
    "httpx",
)
# Without a limit the small model talks until its context is full.
PLAIN = """FROM smollm2:135m
PARAMETER seed 1
PARAMETER num_predict 400
"""
# Models that can call tools, think or fill in a middle are made of the small one by a template that says so. Without a penalty
# it fills a list with the same two friends.
TOOLS = """FROM smollm2:135m
PARAMETER seed 1
PARAMETER repeat_penalty 1.2
PARAMETER repeat_last_n 256
TEMPLATE \"\"\"{{- if .Tools }}<|im_start|>system
You may call these functions, with <tool_call>{"name": …, "arguments": {…}}</tool_call>:
{{ range .Tools }}{{ . }}
{{ end }}<|im_end|>
{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}{{ range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
\"\"\"
"""
# With the seed 1 it has no thoughts about the sky: the answer's first token is its last.
THINKS = """FROM smollm2:135m
PARAMETER seed 2
PARAMETER num_predict 400
TEMPLATE \"\"\"{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ if $.Tools }}{{ range $.Tools }}{{ . }}{{ end }}{{ end }}{{ range .ToolCalls }}<tool_call>{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
<think>
\"\"\"
"""
FILLS = """FROM smollm2:135m
TEMPLATE \"\"\"{{ if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>{{ else }}{{ .Prompt }}{{ end }}\"\"\"
"""
MADE = {
    "llama3.2": PLAIN, "llama3.2:1b": PLAIN, "gemma4": PLAIN,
    "llama3.1": TOOLS, "llama3.1:8b": TOOLS, "qwen3": THINKS, "gpt-oss:20b": THINKS, "deepseek-r1": THINKS,
    "codellama:7b-code": FILLS,
}  # fmt: skip
# What these examples are about is not there, and the answer says so.
ABSENT = {
    "chat-with-history.py": "EOFError",
    "generate-image.py": "not found",
    "multimodal-chat.py": "EOFError",
    "multimodal-generate.py": "",
    "structured-outputs-image.py": "EOFError",
    "ps.py": "cannot reach",
    "pull.py": "cannot reach",
    "systemone.py": "404",
    "web-search-gpt-oss.py": "",
    "web-search-mcp.py": "mcp",
}


# Where the model is too small: what each test that fails asked it, and what it said. The scripted worker passes all of them.
LIMITS = json.loads((Path(__file__).parent / "limits.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Names:
    """A server that has models under the names that the clients ask for, and the tests that its model is too small for."""

    server: Server
    limits: frozenset[str]
    is_scripted: bool


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python environment with the clients in it."""
    folder = tmp_path_factory.mktemp("programs")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module", params=["small model", "script"])
def names(
    request: pytest.FixtureRequest,
    serve: Callable[..., Server],
    models_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Names:
    """All names, with small models, and with a worker that keeps to a script."""
    models = tmp_path_factory.mktemp("names") / "models"
    shutil.copytree(models_dir, models, copy_function=os.link)
    is_scripted = request.param == "script"
    server = serve(models, LLAMA_SERVER=str(scripted(models.parent))) if is_scripted else serve(models)

    def hutch(*words: str) -> None:
        environment = clean_environment(HUTCH_MODELS=str(models), HUTCH_HOST=server.url)
        subprocess.run([sys.executable, "-m", "hutch", *words], env=environment, check=True, timeout=300)

    for name, text in MADE.items():
        modelfile = models.parent / "Modelfile"
        modelfile.write_text(text, encoding="utf-8")
        hutch("create", name, "-f", str(modelfile))
    hutch("pull", "all-minilm")
    return Names(server, frozenset() if is_scripted else frozenset(LIMITS), is_scripted)


def scripted(folder: Path) -> Path:
    """The scripted worker, as a binary that the settings can name."""
    binary = folder / "llama-server"
    worker = Path(__file__).parent / "scripted_worker.py"
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{worker}" "$@"\n', encoding="utf-8")
    binary.chmod(0o755)
    return binary


def _run(
    words: list[object], server: Server, within_s: float, cwd: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=clean_environment(OLLAMA_HOST=server.url, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )


def test_the_examples_of_the_python_package(programs: Path, names: Names, tmp_path: Path) -> None:
    fetch = [
        programs,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        ":all:",
        "-d",
        tmp_path,
        "ollama",
    ]
    subprocess.run([str(word) for word in fetch], check=True)
    with tarfile.open(next(tmp_path.glob("ollama-*.tar.gz"))) as package:
        package.extractall(tmp_path, filter="data")
    examples = sorted(next(tmp_path.glob("ollama-*/examples")).glob("*.py"))
    assert len(examples) > 20
    failed = {}
    for example in examples:
        done = _run([programs, example], names.server, 300, example.parent)
        expected = ABSENT.get(example.name)
        if (done.returncode == 0) == (expected is not None) or (expected and expected not in done.stderr):
            failed[example.name] = done.stderr[-1500:]
    assert not failed, "\n\n".join(f"{name}:\n{text}" for name, text in failed.items())


@pytest.mark.parametrize("suite", ["with_langchain", "with_llama_index"])
def test_a_library_on_top(suite: str, programs: Path, names: Names, tmp_path: Path) -> None:
    words = [programs, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path, "--tb=short"]
    words += [
        "--noconftest",
        "-p",
        "no:cacheprovider",
        "-p",
        "last_said",
        "-o",
        "asyncio_mode=auto",
        SUITES / f"{suite}.py",
    ]
    record = tmp_path / "failed.json"
    done = _run(words, names.server, 1500, tmp_path, RECORD=str(record), PYTHONPATH=str(SUITES))
    print(done.stdout[-20_000:])
    assert done.returncode in (0, 1)
    failed = json.loads(record.read_text(encoding="utf-8"))
    expected = names.limits if suite == "with_langchain" else frozenset()
    assert set(failed) == expected, (
        f"as limits.json would have it, in {record}: {record.read_text(encoding='utf-8')}"
    )


def test_an_answer_that_breaks_off_is_an_error(programs: Path, names: Names, tmp_path: Path) -> None:
    if not names.is_scripted:
        pytest.skip("a model cannot be asked to break off")
    done = _run([programs, SUITES / "broken_off.py"], names.server, 60, tmp_path)
    assert (done.returncode, done.stdout) == (0, "The sky\nerror: the script breaks off here\n"), done.stderr


def test_the_npm_package(names: Names, tmp_path: Path) -> None:
    shutil.copy(SUITES / "npm.mjs", tmp_path / "suite.mjs")
    subprocess.run(["npm", "install", "--silent", "ollama"], cwd=tmp_path, check=True, timeout=300)
    done = _run(["node", "suite.mjs"], names.server, 600, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr[-3000:]
