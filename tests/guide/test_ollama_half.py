"""The deployment guide's commands, files and requests for Ollama, run as they are printed, with `ollama` being Hutch.

Its models are small stand-ins of the same names; its port is a free one.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hutch.cli import commands, shims
from tests.conftest import MODEL, Server, clean_environment, free_port
from tests.integration.test_cli_terminal import Terminal
from tests.pdf_files import pdf
from tests.unit.test_docker import HEALTH, ROOT, instructions

GUIDE = Path(__file__).parent / "ollama"
STAND_INS = ("qwen2.5:3b", "phi4:mini", "nomic-embed-text", "doomed")
PORT = "http://localhost:11434"

# What this machine cannot do. Everything else is run below.
ELSEWHERE = {
    "winget install Ollama.Ollama": "Windows",
    "brew install ollama": "macOS",
    "curl -fsSL https://ollama.com/install.sh | sh": "Ollama's own installer",
    "docker run -d -v ollama:/root/.ollama -p 11434:11434 --name ollama ollama/ollama": "needs a Docker daemon",
}
PULLS = (
    "ollama pull qwen2.5:3b",
    "ollama pull phi4:mini",
    "ollama pull phi4:mini-f16",
    "ollama pull phi4:mini-q8_0",
    "ollama pull phi4:mini-q4_k_m",
)
CREATE = "ollama create enterprise-assistant -f ./Modelfile"
SHORT = (
    "ollama list",
    "ollama rm <model>",
    'ollama run phi4:mini "Explain quantum computing"',
    "OLLAMA_GPU_LAYERS=35 ollama run qwen2.5:3b",
    "CUDA_VISIBLE_DEVICES=0 ollama run phi4:mini",
)
CONVERSATION = "ollama run qwen2.5:3b"
SERVE = "OLLAMA_HOST=0.0.0.0 OLLAMA_NUM_GPU=1 OLLAMA_NUM_THREAD=8 ollama serve"
EXPORTS = (
    "export OLLAMA_NUM_PARALLEL=4",
    "export OLLAMA_MAX_LOADED_MODELS=2",
    "export OLLAMA_FLASH_ATTENTION=1",
    "export OLLAMA_MAX_VRAM=8G",
    "export OLLAMA_KEEP_ALIVE=10m",
)


def printed(name: str) -> list[str]:
    """The commands of a block, without comments, each on one line."""
    text = (GUIDE / name).read_text(encoding="utf-8").replace("\\\n", "")
    if "curl -X" in text:  # whose bodies go over several lines
        return re.findall(r"^curl .*?'$(?!\n *[\"{])", text, re.MULTILINE | re.DOTALL)
    lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


@dataclass
class Shell:
    """A shell whose `ollama` is Hutch, and the server that it asks."""

    server: Server
    folder: Path
    environment: dict[str, str]

    def run(self, command: str, *, typed: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command line."""
        return subprocess.run(
            ["bash", "-c", command.replace(PORT, self.server.url)],
            env=self.environment | variables,
            cwd=self.folder,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    @contextmanager
    def serving(self, script: str, port: int, **variables: str) -> Iterator[str]:
        """What a command that serves says at first, while it does."""
        log = self.folder / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", script],
                env=self.environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 30
            while not _is_healthy(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield log.read_text()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(20) is not None


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def shell(serve: Callable[..., Server], models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The shell of this module. Answers of its models end at their first sentence."""
    folder = tmp_path_factory.mktemp("guide")
    models = folder / "models"
    shutil.copytree(models_dir, models, copy_function=os.link)
    server = serve(models)
    for name in STAND_INS:
        body = {"model": name, "from": MODEL, "parameters": {"num_predict": 40, "stop": ["."]}}
        status, _ = server.post("/api/create", body | {"stream": False})
        assert status == 200
    shims.shims(commands.parse(commands.find("shims"), ["install", "--dir", str(folder / "bin")]))
    environment = clean_environment(OLLAMA_HOST=server.url, HUTCH_HOME=str(folder / "home"))
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    return Shell(server, folder, environment)


def test_every_command_is_accounted_for() -> None:
    names = ("install.sh", "models.sh", "devices.sh", "quantisations.sh", "optimised.sh")
    everything = {command for name in names for command in printed(name)}
    assert everything == {*ELSEWHERE, *PULLS, CREATE, *SHORT, CONVERSATION, SERVE, *EXPORTS, "ollama serve"}
    assert len(printed("requests.sh")) == 3


@pytest.fixture
def catalog(shell: Shell) -> Iterator[None]:
    """A catalog of the user's, in which the guide's names stand for the small model."""
    entry = tomllib.loads((ROOT / "src/hutch/store/catalog.toml").read_text(encoding="utf-8"))[MODEL]
    (member,) = entry["members"]
    said = "\n".join(
        f"{name} = {json.dumps(value)}" for name, value in entry.items() if not isinstance(value, list)
    )
    whence = ", ".join(f"{name} = {json.dumps(value)}" for name, value in member.items())
    file = shell.folder / "home" / "catalog.toml"
    file.parent.mkdir(exist_ok=True)
    names = [command.split()[-1] for command in PULLS]
    file.write_text("\n".join(f'["{name}"]\n{said}\nmembers = [{{{whence}}}]' for name in names))
    yield
    file.unlink()


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize("command", PULLS)
def test_a_model_is_pulled_as_printed(shell: Shell, tmp_path: Path, command: str) -> None:
    shutil.copytree(shell.folder / "models", tmp_path / "models", copy_function=os.link)
    where = {"OLLAMA_HOST": f"127.0.0.1:{free_port()}", "OLLAMA_MODELS": str(tmp_path / "models")}
    done = shell.run(command, **where)
    assert done.returncode == 0, done.stderr
    assert "success" in done.stdout + done.stderr
    shown = shell.run(f"ollama show {command.rsplit(maxsplit=1)[-1]}", **where)
    assert "134.52M" in shown.stdout


def test_the_modelfile_makes_a_model_that_knows_its_documents(shell: Shell) -> None:
    shutil.copy(GUIDE / "Modelfile", shell.folder / "Modelfile")
    (shell.folder / "contoso_guidelines.txt").write_text("Visitors wear a violet badge.\n")
    (shell.folder / "security_protocols.pdf").write_bytes(pdf("Doors are locked at nine."))
    done = shell.run(CREATE)
    assert done.returncode == 0, done.stderr
    _, told = shell.server.post("/api/show", {"model": "enterprise-assistant"})
    assert [each["name"] for each in told["documents"]] == [
        "contoso_guidelines.txt",
        "security_protocols.pdf",
    ]
    assert re.search(r"num_ctx +4096", told["parameters"])
    asked = {"model": "enterprise-assistant", "prompt": "Which badge?", "stream": False}
    status, answer = shell.server.post("/api/generate", asked)
    assert status == 200
    assert answer["prompt_eval_count"] > 60  # the system message and both documents


@pytest.mark.parametrize("command", SHORT)
def test_a_command_runs_as_printed(shell: Shell, command: str) -> None:
    before = {row["name"]: row["pid"] for row in shell.server.get("/api/ps")["models"]}
    done = shell.run(command.replace("<model>", "doomed"), typed="" if "Explain" in command else "Say hi.")
    assert done.returncode == 0, done.stderr
    if "list" in command:
        assert done.stdout.split()[:4] == ["NAME", "ID", "SIZE", "MODIFIED"]
        assert "qwen2.5:3b" in done.stdout
    elif " rm " in command:
        assert done.stdout == "deleted 'doomed'\n"
    else:
        assert done.stdout.strip()
    if "GPU_LAYERS" in command:  # went with the request: the model was loaded anew
        after = {row["name"]: row["pid"] for row in shell.server.get("/api/ps")["models"]}
        assert after["qwen2.5:3b"] != before.get("qwen2.5:3b")
        assert "note:" not in done.stderr
    if "CUDA" in command:  # is the running server's business, which is said
        assert "note: CUDA_VISIBLE_DEVICES" in done.stderr


def test_a_conversation(shell: Shell) -> None:
    command, *words = CONVERSATION.split()
    assert command == "ollama"
    terminal = Terminal(words, OLLAMA_HOST=shell.server.url, HUTCH_HOME=str(shell.folder / "home"))
    try:
        terminal.expect(">>> ")
        terminal.type("Say hi.\r")
        assert len(terminal.expect(r"\n[^>]*\w[^>]*>>> ")) > 5
        terminal.type("/bye\r")
        assert terminal.wait() == 0
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("index", "field"), [(0, "response"), (1, "message"), (2, "embedding")], ids=["generate", "chat", "embed"]
)
def test_a_request_runs_as_printed(shell: Shell, index: int, field: str) -> None:
    done = shell.run(printed("requests.sh")[index].replace("curl", "curl -s", 1))
    assert json.loads(done.stdout)[field]


def test_the_python_program_runs_as_printed(shell: Shell) -> None:
    program = (GUIDE / "generate.py.txt").read_text(encoding="utf-8")
    program = program.replace(PORT, shell.server.url).replace("# stream_response()", "stream_response()")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout.strip()


@pytest.mark.parametrize("is_up", [True, False])
def test_the_javascript_program_runs_as_printed(shell: Shell, tmp_path: Path, is_up: bool) -> None:
    """With stand-ins for its two libraries, of which the second sends one request when it gets its route."""
    for name in ("axios", "express"):
        folder = tmp_path / "node_modules" / name
        folder.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / f"{name}.js", folder / "index.js")
    url = shell.server.url if is_up else f"http://127.0.0.1:{free_port()}"
    (tmp_path / "app.js").write_text((GUIDE / "generate.js").read_text(encoding="utf-8").replace(PORT, url))
    done = subprocess.run(
        ["node", "app.js"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100
    )
    status, _, told = done.stdout.splitlines()[-1].partition(" ")
    assert status == ("200" if is_up else "500")
    assert json.loads(told)["response" if is_up else "error"]


def test_a_server_for_everybody_starts_as_printed(shell: Shell) -> None:
    port = free_port()
    shown = shell.run(SERVE.replace("serve", "config show --json"))
    values = {row["name"]: (row["value"], row["source"]) for row in _rows(shown.stdout)}
    assert values["num_gpu"] == (1, "OLLAMA_NUM_GPU")
    assert values["num_thread"] == (8, "OLLAMA_NUM_THREAD")
    assert values["host"] == ("http://0.0.0.0:11434", "OLLAMA_HOST")
    with shell.serving(SERVE.replace("0.0.0.0", f"0.0.0.0:{port}"), port) as said:
        (key,) = re.findall(r"hutch-[\w-]+", said)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/tags")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=5)
        request.add_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=5) as reply:
            assert reply.status == 200


def test_an_optimised_server_starts_as_printed(shell: Shell) -> None:
    script = (GUIDE / "optimised.sh").read_text(encoding="utf-8")
    port = free_port()
    shown = shell.run(script.replace("ollama serve", "ollama config show --json"))
    values = {row["name"]: (row["value"], row["source"]) for row in _rows(shown.stdout)}
    assert values["num_parallel"] == (4, "OLLAMA_NUM_PARALLEL")
    assert values["max_loaded_models"] == (2, "OLLAMA_MAX_LOADED_MODELS")
    assert values["flash_attention"] == (True, "OLLAMA_FLASH_ATTENTION")
    assert values["max_vram"] == (8 * 10**9, "OLLAMA_MAX_VRAM")
    assert values["keep_alive"] == (600.0, "OLLAMA_KEEP_ALIVE")
    models = str(shell.folder / "models")
    with shell.serving(script, port, OLLAMA_HOST=f"127.0.0.1:{port}", OLLAMA_MODELS=models):
        body = json.dumps({"model": "phi4:mini", "prompt": "Hi", "stream": False}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/generate", body, timeout=60) as reply:
            assert json.load(reply)["response"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/ps", timeout=5) as reply:
            (row,) = json.load(reply)["models"]
        assert row["slots"] == 4


def _rows(text: str) -> list[dict[str, Any]]:
    told = json.loads(text)
    return [*told["settings"], *told["commands"]]


def test_the_persona_makes_a_model(shell: Shell) -> None:
    persona = (GUIDE / "persona.Modelfile").read_text(encoding="utf-8")
    (shell.folder / "persona").write_text(f"FROM phi4:mini\n{persona}")
    done = shell.run("ollama create persona -f persona && ollama run persona Hello")
    assert done.returncode == 0, done.stderr
    _, told = shell.server.post("/api/show", {"model": "persona"})
    assert told["system"].strip().startswith("You are a specialized enterprise assistant")
    assert told["template"].endswith("Assistant: ")


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize(
    "file", [GUIDE / "Dockerfile", ROOT / "docker" / "Dockerfile"], ids=["guide", "ours"]
)
def test_an_image_is_built_without_a_server(shell: Shell, tmp_path: Path, file: Path) -> None:
    steps = instructions(str(file))
    shutil.copytree(shell.folder / "models", tmp_path / "models", copy_function=os.link)
    shutil.copy(ROOT / "docker" / "modelfile", shell.folder / "modelfile")
    for step in [value for name, value in steps if name == "RUN"]:
        done = shell.run(step, OLLAMA_HOST=f"0.0.0.0:{free_port()}", OLLAMA_MODELS=str(tmp_path / "models"))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "models/manifests/registry.ollama.ai/library/enterprise-model").is_dir()
    (health,) = [value for name, value in steps if name == "HEALTHCHECK"]
    assert health == HEALTH
    assert shell.run(health.partition(" CMD ")[2]).returncode == 0
    assert shell.run(health.partition(" CMD ")[2].replace("11434", str(free_port()))).returncode == 1


def test_prometheus_finds_metrics_where_the_guide_says(shell: Shell) -> None:
    path = re.findall(r"metrics_path: '(.*)'", (GUIDE / "prometheus.yml").read_text(encoding="utf-8"))
    with urllib.request.urlopen(shell.server.url + path[0], timeout=10) as reply:
        assert b"hutch_http_requests_total" in reply.read()
