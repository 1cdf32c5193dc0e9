"""The deployment guide's commands and files for Foundry Local, run as they are printed, with `foundry-local` being Hutch.

Its models are small stand-ins of the same names; its ports are free ones.
"""

import importlib
import json
import os
import re
import shutil
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hutch
from hutch.cli import commands, shims
from tests.conftest import MODEL, Server, clean_environment, free_port
from tests.guide.test_ollama_half import Shell
from tests.unit.test_docker import ROOT

yaml: Any = importlib.import_module("yaml")
GUIDE = Path(__file__).parent / "foundry"
ELSEWHERE = ("winget install Microsoft.FoundryLocal",)  # Windows
FIRST = ("foundry-local --version", "foundry-local init")
LISTS = ("foundry-local models list", "foundry-local models list --size small --type instruct")
PULLS = (
    "foundry-local models pull microsoft/phi-4-mini",
    "foundry-local models pull deepseek/r1-distill-qwen-1.5b",
)
TEST = "foundry-local models test microsoft/phi-4-mini --benchmark"
DEPLOY = "foundry-local deploy --config production.json"
NAME = "microsoft/phi-4-mini"


def printed(name: str) -> list[str]:
    """The commands of a block, without comments."""
    lines = (line.partition("#")[0].strip() for line in (GUIDE / name).read_text("utf-8").splitlines())
    return [line for line in lines if line]


def written(shell: Shell, name: str, port: int) -> None:
    """The guide's file in the shell's folder, with another port."""
    text = (GUIDE / name).read_text("utf-8")
    (shell.folder / name).write_text(text.replace("8080", str(port)))


def ask(port: int, path: str, body: dict[str, Any] | None = None, key: str = "") -> Any:
    """Ask at a port."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data)
    request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def chat(port: int, key: str = "") -> str:
    body = {"model": NAME, "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 8}
    told = ask(port, "/v1/chat/completions", body, key)
    return str(told["choices"][0]["message"]["content"])


@pytest.fixture(scope="module")
def shell(serve: Callable[..., Server], models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The shell of this module."""
    folder = tmp_path_factory.mktemp("guide")
    models = folder / "models"
    shutil.copytree(models_dir, models, copy_function=os.link, ignore=shutil.ignore_patterns(".loaded"))
    server = serve(models)
    shims.shims(commands.parse(commands.find("shims"), ["install", "--dir", str(folder / "bin")]))
    _write_catalog(server.home / "catalog.toml", [command.split()[-1] for command in PULLS])
    environment = clean_environment(
        HUTCH_HOST=server.url, HUTCH_HOME=str(server.home), HUTCH_MODELS=str(models)
    )
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    return Shell(server, folder, environment)


def _write_catalog(file: Path, names: list[str]) -> None:
    """A catalog of the user's, in which the guide's names stand for the small model."""
    entry = tomllib.loads((ROOT / "src/hutch/store/catalog.toml").read_text(encoding="utf-8"))[MODEL]
    (member,) = entry["members"]
    said = "\n".join(
        f"{name} = {json.dumps(value)}" for name, value in entry.items() if not isinstance(value, list)
    )
    whence = ", ".join(f"{name} = {json.dumps(value)}" for name, value in member.items())
    file.write_text("\n".join(f'["{name}"]\n{said}\nmembers = [{{{whence}}}]' for name in names))


def test_every_command_is_accounted_for() -> None:
    everything = {*printed("install.sh"), *printed("models.sh")}
    assert everything == {*ELSEWHERE, *FIRST, *LISTS, *PULLS, TEST}
    for folder in (GUIDE,):
        assert {file.name for file in folder.iterdir()} == {
            *("install.sh", "models.sh", "production.json", "performance.json"),
            *("kubernetes.yaml", "workflow.yml", "prometheus.yml"),
        }


def test_it_says_its_version_and_sets_itself_up(shell: Shell) -> None:
    version = shell.run(FIRST[0])
    assert version.returncode == 0
    assert hutch.__version__ in version.stdout
    settings = shell.server.home / "hutch.toml"
    first = shell.run(FIRST[1])
    assert first.returncode == 0, first.stdout
    assert f"{settings} written" in first.stdout
    assert re.search(r"^Next: hutch run \S+$", first.stdout, re.MULTILINE)
    settings.write_text("num_parallel = 2\n")
    again = shell.run(FIRST[1])
    assert "stays as it is" in again.stdout
    assert settings.read_text() == "num_parallel = 2\n"
    settings.unlink()


@pytest.mark.parametrize("command", PULLS)
def test_a_model_is_pulled(shell: Shell, command: str) -> None:
    done = shell.run(command)
    assert done.returncode == 0, done.stderr
    assert "success" in done.stdout + done.stderr


@pytest.mark.parametrize("command", LISTS)
def test_models_are_listed(shell: Shell, tmp_path: Path, command: str) -> None:
    assert shell.run(command).returncode == 0
    # In a home of its own, where no stand-in has taken the name.
    done = shell.run(command, HUTCH_HOME=str(tmp_path), HUTCH_HOST=f"127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr
    assert NAME in done.stdout
    assert ("nomic-embed-text" in done.stdout) is ("--type" not in command)


@pytest.fixture
def pulled(shell: Shell) -> None:
    """The model of the guide's deployment is there."""
    assert shell.run(PULLS[0]).returncode == 0


@pytest.mark.slow
@pytest.mark.usefixtures("pulled")
def test_a_model_is_tested_and_timed(shell: Shell) -> None:
    done = shell.run(f"{TEST} --picture bench.svg")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pass: ")
    for word in ("first token", "decode", "prefill", "memory"):
        assert word in done.stdout
    assert (shell.folder / "bench.svg").read_text().endswith("</svg>\n")
    plain = shell.run(TEST.replace("--benchmark", "--json"))
    assert json.loads(plain.stdout)["passed"] is True
    absent = shell.run("foundry-local models test microsoft/nosuch --benchmark")
    assert absent.returncode == 4
    assert "hutch models pull microsoft/nosuch" in absent.stderr


@pytest.mark.usefixtures("pulled")
def test_the_deployment_and_its_tuning_run_as_printed(shell: Shell) -> None:
    port = free_port()
    written(shell, "production.json", port)
    done = shell.run(DEPLOY)
    assert done.returncode == 0, done.stderr
    assert f"ready: http://127.0.0.1:{port}/v1" in done.stdout
    assert "quantization: nothing to do" in done.stdout  # it is a GGUF file of four bits
    (row,) = [row for row in shell.server.get("/api/ps")["models"] if row["name"].startswith(NAME)]
    assert (row["slots"], row["context_length"]) == (4, 4096)
    assert chat(port)
    assert shell.server.get("/api/health") == {"status": "ok"}  # the server's own port beside it
    shutil.copy(GUIDE / "performance.json", shell.folder)
    tuned = shell.run("foundry-local deploy --config performance.json")
    assert tuned.returncode == 0, tuned.stderr
    (row,) = [row for row in shell.server.get("/api/ps")["models"] if row["name"].startswith(NAME)]
    assert row["slots"] == 8
    both = shell.run(f"{DEPLOY} --config performance.json --json")
    assert json.loads(both.stdout)["changes"] == []
    assert chat(port)
    assert shell.run("foundry-local deploy remove").returncode == 0


def test_the_workflow_runs_without_a_terminal(shell: Shell, tmp_path: Path) -> None:
    workflow = yaml.safe_load((GUIDE / "workflow.yml").read_text("utf-8"))
    scripts = [step["run"] for step in workflow["jobs"]["deploy"]["steps"] if "run" in step]
    assert len(scripts) == 2
    written(shell, "production.json", port := free_port())
    done = shell.run(f"set -e\n{scripts[1]}")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert chat(port)
    again = shell.run(f"set -e\n{scripts[1]}")  # the next push of the same
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    broken = (shell.folder / "production.json").read_text().replace("preferred", "prefered")
    (shell.folder / "production.json").write_text(broken)
    refused = shell.run(f"set -e\n{scripts[1]}")
    assert refused.returncode == 2
    assert (
        "production.json:5: deployment.hardware.prefered: unknown key; did you mean 'preferred'?"
        in refused.stderr
    )
    assert shell.run("foundry-local deploy remove").returncode == 0


def _containers() -> Iterator[tuple[str, Any]]:
    for name, file in (("guide", GUIDE / "kubernetes.yaml"), ("ours", ROOT / "deploy" / "kubernetes.yaml")):
        for document in yaml.safe_load_all(file.read_text("utf-8")):
            if document["kind"] == "Deployment":
                (container,) = document["spec"]["template"]["spec"]["containers"]
                yield name, container


def test_our_file_for_kubernetes_says_what_the_guide_s_does() -> None:
    theirs, ours = (container for _, container in _containers())
    assert ours["env"] == theirs["env"]
    assert ours["resources"] == theirs["resources"]
    assert theirs["ports"][0]["containerPort"] in [port["containerPort"] for port in ours["ports"]]
    named = {port["name"] for port in ours["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert ours[probe]["httpGet"]["path"] in ("/readyz", "/healthz")
        assert ours[probe]["httpGet"]["port"] in named


def test_the_container_of_the_guide_s_file_serves_its_model(shell: Shell, tmp_path: Path) -> None:
    """The image's command line with the file's environment. The model is not there yet: it is fetched first."""
    container = next(container for name, container in _containers() if name == "guide")
    said = {each["name"]: each["value"] for each in container["env"]}
    port, own = free_port(), free_port()
    home = tmp_path / "home"
    home.mkdir()
    _write_catalog(home / "catalog.toml", [NAME])
    models = tmp_path / "models"
    shutil.copytree(shell.folder / "models" / "blobs", models / "blobs", copy_function=os.link)
    variables = {"HUTCH_HOST": f"0.0.0.0:{own}", "HUTCH_HOME": str(home), "HUTCH_MODELS": str(models)}
    with shell.serving(
        f"{sys.executable} -m hutch serve", own, **variables, **said, FOUNDRY_PORT=str(port)
    ) as announced:
        (key,) = re.findall(r"hutch-[\w-]+", announced)
        deadline = time.monotonic() + 60
        while not _is_ready(own):
            assert time.monotonic() < deadline, (shell.folder / "serve.log").read_text()
            time.sleep(0.2)
        assert _is_ready(port)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            chat(port)
        assert chat(port, key)
        (row,) = ask(own, "/api/ps", key=key)["models"]
        assert row["name"] == f"{NAME}:latest"
        (deployed,) = ask(own, "/api/deployments", key=key)["deployments"]
        assert deployed["document"]["deployment"]["hardware"] == {
            "preferred": "npu",
            "fallback": ["gpu", "cpu"],
        }


def _is_ready(port: int) -> bool:
    try:
        return bool(ask(port, "/readyz") == {"status": "ready"})
    except OSError:
        return False
