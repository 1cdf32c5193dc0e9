"""Programs that were written for Ollama, run against Hutch: `pytest -m clients`.

They are fetched from the registries of their languages, and speak to small models under the names that they ask for.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MODEL, Server, clean_environment

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
PLAIN = ("llama3.2", "llama3.2:1b", "gemma4")
# Models that can call tools, think or fill in a middle are made of the small one by a template that says so.
TOOLS = """FROM smollm2:135m
TEMPLATE \"\"\"{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if eq .Role "system" }}{{ .Content }}{{ if $.Tools }}
Tools: {{ range $.Tools }}{{ . }}{{ end }}{{ end }}{{ else }}{{ .Content }}{{ range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
\"\"\"
"""
THINKS = """FROM smollm2:135m
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


# Where the model is too small: it calls no tool that nothing makes it call, and no JSON of its own has the wanted shape.
LIMITS = {
    "test_tool_calling", "test_tool_calling_async", "test_bind_runnables_as_tools", "test_tool_calling_with_no_arguments",
    "test_agent_loop", "test_unicode_tool_call_integration", "test_json_mode",
    "test_structured_output_pydantic_2_v1",  # it adds keys, which that schema allows
}  # fmt: skip


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python environment with the clients in it."""
    folder = tmp_path_factory.mktemp("programs")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def server_of_names(
    serve: Callable[..., Server], models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """A server that has small models under the names that the clients ask for."""
    models = tmp_path_factory.mktemp("names") / "models"
    shutil.copytree(models_dir, models, copy_function=os.link)
    server = serve(models)

    def hutch(*words: str) -> None:
        environment = clean_environment(HUTCH_MODELS=str(models), HUTCH_HOST=server.url)
        subprocess.run([sys.executable, "-m", "hutch", *words], env=environment, check=True, timeout=300)

    for name in PLAIN:
        hutch("cp", MODEL, name)
    for name, text in MADE.items():
        modelfile = models.parent / "Modelfile"
        modelfile.write_text(text, encoding="utf-8")
        hutch("create", name, "-f", str(modelfile))
    hutch("pull", "all-minilm")
    return server


def _run(words: list[object], server: Server, within_s: float, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=clean_environment(OLLAMA_HOST=server.url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
    )


def test_the_examples_of_the_python_package(programs: Path, server_of_names: Server, tmp_path: Path) -> None:
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
        done = _run([programs, example], server_of_names, 300, example.parent)
        expected = ABSENT.get(example.name)
        if (done.returncode == 0) == (expected is not None) or (expected and expected not in done.stderr):
            failed[example.name] = done.stderr[-1500:]
    assert not failed, "\n\n".join(f"{name}:\n{text}" for name, text in failed.items())


@pytest.mark.parametrize(("suite", "limits"), [("with_langchain", LIMITS), ("with_llama_index", set())])
def test_a_library_on_top(
    suite: str, limits: set[str], programs: Path, server_of_names: Server, tmp_path: Path
) -> None:
    words = [programs, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path, "--tb=short"]
    words += ["-p", "no:cacheprovider", "-o", "asyncio_mode=auto", SUITES / f"{suite}.py"]
    done = _run(words, server_of_names, 1500, tmp_path)
    print(done.stdout[-20_000:])
    failed = set(re.findall(r"^(?:FAILED|ERROR) \S*::(\w+)", done.stdout, re.MULTILINE))
    assert done.returncode in (0, 1)
    assert failed <= limits


def test_the_npm_package(server_of_names: Server, tmp_path: Path) -> None:
    shutil.copy(SUITES / "npm.mjs", tmp_path / "suite.mjs")
    subprocess.run(["npm", "install", "--silent", "ollama"], cwd=tmp_path, check=True, timeout=300)
    done = _run(["node", "suite.mjs"], server_of_names, 600, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr[-3000:]
