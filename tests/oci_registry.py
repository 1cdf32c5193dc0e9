"""A real OCI registry on this machine: Debian's `docker-registry`."""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import free_port

_CONFIG = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: 127.0.0.1:{port}}}
{auth}"""


@contextmanager
def oci_registry(folder: Path, htpasswd: str = "") -> Iterator[str]:
    """A registry that keeps its blobs in a folder, and asks for a login where there is a list of them. Gives `host:port`."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("docker-registry is missing: install the Debian package docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    port, auth = free_port(), ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}\n"
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "data", port=port, auth=auth))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/v2/", process, folder / "log")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return  # it asks for a login
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"docker-registry did not start:\n{log.read_text()}")
