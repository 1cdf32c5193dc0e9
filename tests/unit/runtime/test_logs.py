"""Logs of a bounded length."""

import os
from pathlib import Path

import pytest

from hutch import places
from hutch.runtime import logs
from hutch.runtime.worker import SocketFolder


def test_a_log_is_for_its_owner_and_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.log"
    for word in (b"one ", b"two"):
        with logs.open_to_add(path) as log:
            log.write(word)
    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_has_grown_long_is_put_aside_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MAX_BYTES", 10)
    path, aside = tmp_path / "x.log", tmp_path / "x.log.1"
    aside.write_bytes(b"older")
    with logs.open_to_add(path) as log:
        os.write(log.fileno(), b"0123456789")
        logs.trim(path)
        assert aside.read_bytes() == b"older"
        os.write(log.fileno(), b"+")
        logs.trim(path)
        os.write(log.fileno(), b"new")
    assert (path.read_bytes(), aside.read_bytes()) == (b"new", b"0123456789+")
    assert aside.stat().st_mode & 0o777 == 0o600


def test_only_a_log_of_ones_own_is_looked_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_BYTES", 1)
    path = tmp_path / "server.log"
    logs.trim_own(path)
    path.write_bytes(b"another server's")
    logs.trim_own(path)
    assert path.read_bytes() == b"another server's"


def test_sockets_lie_elsewhere_where_the_temporary_folder_has_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 150)
    long.mkdir()
    monkeypatch.setattr(places, "socket_parents", lambda: (long, tmp_path / "no", Path("/tmp")))
    folder = SocketFolder()
    endpoint = folder.next_endpoint()
    assert endpoint.socket.startswith("/tmp/hutch-")
    folder.close()
    assert not Path(endpoint.socket).parent.exists()


def test_without_any_short_folder_workers_listen_on_loopback_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "socket_parents", lambda: (tmp_path / ("x" * 150),))
    endpoint = SocketFolder().next_endpoint()
    assert endpoint.port
    assert len(endpoint.secret) > 30
