"""What tests share: a model folder with a real model, and real servers."""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests import onnx_smollm

hypothesis.settings.register_profile(  # the machine has other work too
    "beside others", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("beside others")

# Whoever runs the tests in the background may have SIGINT ignored, which the programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

MODEL = "smollm2:135m"
ENGINES = ("gguf", "onnx")
EVERY_ENGINE = pytest.mark.parametrize("models_dir", ENGINES, indirect=True)


class EnginesInTurn(LoadScopeScheduling):  # type: ignore[misc]
    """Files that run on every engine come one after another, for two engines would take each other's time; the rest beside."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "every engine" if self._runs_engines(file) else file

    @functools.cache  # noqa: B019  one scheduler lives as long as the run
    def _runs_engines(self, file: str) -> bool:
        return "EVERY_ENGINE" in (self.config.rootpath / file).read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> EnginesInTurn:
    """How a whole run is divided."""
    return EnginesInTurn(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A whole run is divided in two; what is asked for by its file or its marker runs alone."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and "not soak" in config.option.markexpr
    return 2 if whole else 0


@dataclass(frozen=True)
class Server:
    """A `hutch serve` of a test, and the folder that it calls home."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=30) as reply:
            return json.load(reply)

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """The status and the JSON of a POST; every line of it where the reply is a stream."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=100) as reply:
                return reply.status, _json(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read())

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        lines = data.decode().splitlines()
        return [json.loads(line) for line in lines] if lines and lines[0].startswith("{") else data.decode()


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment of this process without what would steer Hutch, and with `settings`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HUTCH_", "OLLAMA_", "FOUNDRY_"))
    }
    kept["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"  # no test asks for yours
    return kept | settings


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Model folders by engine, each made once: all of them hold a model of the name MODEL."""
    made: dict[str, Path] = {}

    def stock(engine: str) -> Path:
        if engine not in made:
            source = stock("gguf") if engine == "onnx" else None
            made[engine] = _stocked(tmp_path_factory, source)
        return made[engine]

    return stock


@pytest.fixture(scope="session")
def models_dir(request: pytest.FixtureRequest, stocked: Callable[[str], Path]) -> Path:
    """A model folder, to be read only. With EVERY_ENGINE the test runs once for each engine; else with the first."""
    return stocked(getattr(request, "param", ENGINES[0]))


def weights_in(models: Path) -> Path:
    """The one GGUF file of a model folder."""
    return max((models / "blobs").iterdir(), key=lambda blob: blob.stat().st_size)


def _stocked(folders: pytest.TempPathFactory, source: Path | None) -> Path:
    """The real smollm2:135m, pulled as a user pulls it; or in ONNX, made from the GGUF file in the folder `source`."""
    folder, home = folders.mktemp("models"), folders.mktemp("stock-home")
    words = ["pull", MODEL]
    if source is not None:
        onnx_smollm.write(weights_in(source), home / "smollm")
        (home / "Modelfile").write_text("FROM ./smollm\n")
        words = ["create", MODEL, "-f", str(home / "Modelfile")]
    subprocess.run(
        [sys.executable, "-m", "hutch", *words],
        env=clean_environment(
            HUTCH_HOME=str(home), HUTCH_MODELS=str(folder), HUTCH_HOST=f"127.0.0.1:{free_port()}"
        ),
        check=True,
        capture_output=True,
        timeout=300,
    )
    shutil.rmtree(home)
    return folder


@pytest.fixture
def models_copy(models_dir: Path, tmp_path: Path) -> Path:
    """A model folder of the test's own, with hard links to the blobs of `models_dir`."""
    folder = tmp_path / "models"
    for source in models_dir.rglob("*"):
        target = folder / source.relative_to(models_dir)
        if source.is_file() and ".loaded" not in source.parts:  # which is another server's
            target.parent.mkdir(parents=True, exist_ok=True)
            if "blobs" in source.parts:
                os.link(source, target)
            else:
                target.write_bytes(source.read_bytes())
    return folder


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start servers: `serve(models_folder, NAME="value")`, the value for the variable HUTCH_NAME."""
    servers: list[Server] = []

    def start(models: Path, **settings: str) -> Server:
        home = tmp_path_factory.mktemp("home")
        url = f"http://127.0.0.1:{free_port()}"
        variables = {"HOME": str(home), "MODELS": str(models), "HOST": url} | settings
        if "PYTEST_XDIST_WORKER" in os.environ:  # a core is left for the tests beside it
            variables.setdefault("NUM_THREAD", "1")
        log = (home / "serve.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "hutch", "serve"],
            env=clean_environment(**{f"HUTCH_{name}": value for name, value in variables.items()}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        server = Server(url.replace("0.0.0.0", "127.0.0.1"), home, process)
        servers.append(server)
        wait_until_ready(server)
        return server

    yield start
    for server in servers:
        server.process.terminate()  # all at once: each takes a second to end
    for server in servers:
        server.stop()


def wait_until_ready(server: Server) -> None:
    """Return once the server answers; fail with its log where it does not."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            server.get("/healthz")
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the server did not start:\n{(server.home / 'serve.log').read_text()}")


@pytest.fixture(scope="session")
def server(serve: Callable[..., Server], models_dir: Path) -> Server:
    """One server with the real model, for tests that leave it as it was."""
    return serve(models_dir)
