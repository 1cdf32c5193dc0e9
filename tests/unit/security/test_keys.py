"""The file of keys: what it holds, who may read it, and that nothing of it is lost."""

import json
import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hutch.core.access import UNLIMITED, Allowance
from hutch.core.errors import BadInput, Conflict, NotFound
from hutch.core.names import ModelName
from hutch.security.keys import KeyFile, checked, digest, new_key, told
from tests.keys import key

SMALL = ModelName.parse("smollm2:135m")


def test_a_new_key_is_kept_as_a_digest_and_comes_back_as_it_was(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "home" / "keys.json")
    ends = datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)
    allowance = Allowance(2.5, -3, 60, 9000, (SMALL,))
    made, text = new_key("anna", expires_at=ends, allowance=allowance)
    file.add(made)
    assert file.read() == (made,)
    assert len(text) > 40
    assert text not in file.path.read_text(encoding="utf-8")
    assert made.sha256 == digest(text)
    assert "sha256" not in told(made)
    assert (made.principal.name, made.principal.allowance) == ("anna", allowance)


def test_no_two_keys_are_alike() -> None:
    assert len({new_key("a")[1] for _ in range(100)}) == 100


def test_a_name_is_given_once_and_free_again_when_it_is_revoked(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    first, second = new_key("anna")[0], new_key("Anna")[0]
    file.add(first)
    with pytest.raises(Conflict, match="Anna"):
        file.add(second)
    file.revoke("ANNA")
    assert file.read() == ()
    file.add(second)
    assert second.principal != first.principal  # who has the new key inherits nothing
    with pytest.raises(NotFound):
        file.revoke("ben")


def test_the_first_key_is_made_where_there_is_none_and_told_once(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    text = file.first()
    assert file.read()[0].sha256 == digest(text)
    assert file.first() == ""
    file.revoke("first")
    assert file.first() not in ("", text)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_file_is_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        KeyFile(tmp_path / "keys.json").first()
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"keys.json": 0o600, "keys.json.lock": 0o600}


def test_many_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    threads = [
        threading.Thread(target=lambda number=number: KeyFile(path).add(key(str(number), f"k{number}")))
        for number in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in KeyFile(path).read()} == {f"k{number}" for number in range(24)}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


def test_the_file_of_the_first_servers_is_read_and_written_anew(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.path.write_text(json.dumps({"sha256": [digest("one"), digest("two")]}))
    assert [(each.name, each.sha256) for each in file.read()] == [
        ("first", digest("one")),
        ("first-1", digest("two")),
    ]
    file.add(key("three", "third"))
    assert [each.name for each in file.read()] == ["first", "first-1", "third"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"5", b"{}", b'{"sha256": null}', b'{"sha256": 5}', b'{"sha256": [5]}', b'{"sha256": {}}',
        b'{"sha256": "abc"}', b'{"sha256": ["abc"]}', '{"sha256": ["ä"]}'.encode(), b"\xff\xfe", b'{"keys": {}}', b'{"keys": [5]}',
        json.dumps({"sha256": [digest("a").upper()]}).encode(), json.dumps({"sha256": [digest("a") + "\n"]}).encode(),
        b'{"keys": [{"name": "a"}]}', json.dumps({"keys": [{"sha256": digest("a")}]}).encode(),
        json.dumps({"keys": [{"name": "a", "sha256": digest("a"), "expires_at": "soon"}]}).encode(),
        json.dumps({"keys": [{"name": "a", "sha256": digest("a"), "expires_at": ""}]}).encode(),
        json.dumps({"keys": [{"name": "a", "sha256": digest("a"), "models": "all"}]}).encode(),
        json.dumps({"keys": [{"name": "a", "sha256": digest("a"), "weight": 0}]}).encode(),
        b'{"keys": [{"name": "a", "sha256": "' + digest("a").encode() + b'", "weight": NaN}]}',
        json.dumps({"keys": [{"name": "a", "sha256": digest("a")}] * 2}).encode(), b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    file = KeyFile(tmp_path / "keys.json")
    file.path.write_bytes(content)
    for act in (file.read, file.first, lambda: file.add(new_key("a")[0]), lambda: file.revoke("a")):
        with pytest.raises(BadInput, match=r"keys\.json is damaged") as caught:
            act()
        assert "remove it" in caught.value.hint
    assert file.path.read_bytes() == content


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a" * 65, "a/b", "ä", "a\n", "../x"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="no name"):
        new_key(name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 0.0}, {"weight": -1.0}, {"weight": 1001.0}, {"weight": float("nan")}, {"weight": float("inf")}, {"priority": 101},
        {"priority": -101}, {"requests_per_minute": -1}, {"tokens_per_minute": -1}, {"tokens_per_minute": 10**10}, {"models": (SMALL,) * 1001},
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        checked(replace(key("x"), allowance=replace(UNLIMITED, **wrong)))  # type: ignore[arg-type]


def test_a_key_ends_in_the_moment_that_was_said() -> None:
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    ending = key("x", expires_at=ends)
    assert not ending.has_expired(ends - timedelta(seconds=1))
    assert ending.has_expired(ends)
    assert not key("x").has_expired(ends)
