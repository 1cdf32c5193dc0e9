"""Keys, and the first one."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from hutch import app
from hutch.config import Settings
from hutch.core.access import ANONYMOUS
from hutch.core.errors import BadInput, Unauthenticated
from hutch.places import Address
from hutch.security.authn import Keys, Open, first_key


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_an_open_server_knows_nobody() -> None:
    assert Open().principal("") == Open().principal("some key") == ANONYMOUS


def test_each_key_is_a_principal_of_its_own() -> None:
    keys = Keys([digest("one"), digest("two")])
    one, two = keys.principal("one"), keys.principal("two")
    assert one != two
    assert one == keys.principal("one")
    assert "one" not in one.id


@pytest.mark.parametrize(
    "credential", ["", "three", "one ", "ONE", "ünknown", digest("one"), "\0", "x" * 100_000]
)
def test_whoever_has_no_key_is_refused_and_told_how_to_send_one(credential: str) -> None:
    with pytest.raises(Unauthenticated, match="unauthorized") as caught:
        Keys([digest("one")]).principal(credential)
    assert "Authorization: Bearer" in caught.value.hint
    assert caught.value.http_status == 401


def test_an_empty_key_lets_nobody_in_even_if_its_digest_is_there() -> None:
    with pytest.raises(Unauthenticated):
        Keys([digest("")]).principal("")
    with pytest.raises(Unauthenticated):
        Keys([]).principal("one")


def test_the_first_key_is_made_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.json"
    keys, key = first_key(file)
    assert keys.principal(key).id.startswith("key:")
    assert len(key) > 40
    assert key not in file.read_text(encoding="utf-8")
    again, none = first_key(file)
    assert none == ""
    assert again.principal(key) == keys.principal(key)
    with pytest.raises(Unauthenticated):
        again.principal("another")


def test_two_servers_have_different_first_keys(tmp_path: Path) -> None:
    assert first_key(tmp_path / "a")[1] != first_key(tmp_path / "b")[1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_file_is_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        first_key(tmp_path / "keys.json")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"5", b"{}", b'{"sha256": null}', b'{"sha256": 5}', b'{"sha256": [5]}', b'{"sha256": {}}',
        b'{"sha256": "abc"}', b'{"sha256": ["abc"]}', '{"sha256": ["ä"]}'.encode(), b"\xff\xfe",
        json.dumps({"sha256": [digest("a").upper()]}).encode(), json.dumps({"sha256": [digest("a") + "\n"]}).encode(),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"keys\.json is damaged") as caught:
        first_key(file)
    assert "remove it" in caught.value.hint
    assert file.read_bytes() == content


def test_a_key_is_not_made_where_the_server_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("no temporary folder")

    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    monkeypatch.setattr(app, "SocketFolder", fail)
    with pytest.raises(OSError, match="no temporary folder"):
        app.build(Settings(), Address.parse("0.0.0.0"))
    assert not (tmp_path / "keys.json").exists()
