"""Who is let in."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hutch import app
from hutch.config import Settings
from hutch.core.access import ANONYMOUS
from hutch.core.errors import BadInput, HutchError, Unauthenticated
from hutch.places import Address
from hutch.security.authn import Authenticator, Keys, Open, Watched, Welcome
from hutch.security.keys import KeyFile, digest, new_key
from tests.keys import key

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
OUTSIDE, HERE = Address.parse("0.0.0.0"), Address.parse("127.0.0.1")


def test_an_open_server_knows_nobody() -> None:
    assert Open().principal("") == Open().principal("some key") == ANONYMOUS


def test_each_key_is_a_principal_of_its_own() -> None:
    keys = Keys(lambda: (key("one"), key("two", "other", weight=3.0)))
    one, two = keys.principal("one"), keys.principal("two")
    assert one != two
    assert one == keys.principal("one")
    assert "one" not in one.id
    assert (two.name, two.allowance.weight) == ("other", 3.0)


@pytest.mark.parametrize(
    "credential", ["", "three", "one ", "ONE", "ünknown", digest("one"), "\0", "\udc80", "x" * 100_000]
)
def test_whoever_has_no_key_is_refused_and_told_how_to_send_one(credential: str) -> None:
    with pytest.raises(Unauthenticated, match="unauthorized") as caught:
        Keys(lambda: (key("one"),)).principal(credential)
    assert "Authorization: Bearer" in caught.value.hint
    assert "`hutch keys create NAME`" in caught.value.hint
    assert caught.value.http_status == 401


def test_an_empty_key_lets_nobody_in_even_if_its_digest_is_there() -> None:
    with pytest.raises(Unauthenticated):
        Keys(lambda: (key(""),)).principal("")
    with pytest.raises(Unauthenticated):
        Keys(tuple).principal("one")


def test_a_key_that_has_expired_lets_nobody_in_and_says_so() -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        Keys(lambda: (key("one", expires_at=LONG_AGO),)).principal("one")


def test_where_no_key_is_needed_one_is_known_all_the_same() -> None:
    made, text = new_key("anna")
    welcome = Welcome(Keys(lambda: (made,)))
    assert welcome.principal(text).name == "anna"
    for nothing in ("", "ollama", "none", "sk-1234", "Hutch-x"):
        assert welcome.principal(nothing) == ANONYMOUS


def test_where_no_key_is_needed_a_revoked_one_is_not_taken_for_none() -> None:
    with pytest.raises(Unauthenticated, match="not known here") as caught:
        Welcome(Keys(tuple)).principal(new_key("anna")[1])
    assert "send no key" in caught.value.hint
    made, text = new_key("ben", expires_at=LONG_AGO)
    with pytest.raises(Unauthenticated, match="expired"):
        Welcome(Keys(lambda: (made,))).principal(text)


def test_keys_come_and_go_while_the_server_runs(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    keys = Keys(Watched(file))
    made, text = new_key("anna")
    with pytest.raises(Unauthenticated):
        keys.principal(text)
    file.add(made)
    assert keys.principal(text).name == "anna"
    other, other_text = new_key("ben")
    file.add(other)
    assert keys.principal(other_text).name == "ben"
    file.revoke("anna")
    with pytest.raises(Unauthenticated):
        keys.principal(text)
    file.path.unlink()
    with pytest.raises(Unauthenticated):
        keys.principal(other_text)


def test_nobody_is_let_in_by_keys_that_cannot_be_read_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = KeyFile(tmp_path / "keys.json")
    text = file.first()
    keys = Keys(Watched(file))
    assert keys.principal(text).name == "first"
    aside = file.path.rename(tmp_path / "aside")
    file.path.write_text("{")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(HutchError, match="cannot read its keys"):
                keys.principal(text)
    assert caplog.text.count("no key can be checked") == 1
    aside.rename(file.path)  # the very file that was there: its stamp is the old one
    assert keys.principal(text).name == "first"


def _built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: Address, **settings: str
) -> tuple[Authenticator, str]:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    parts = app.build(Settings(**settings), address)  # type: ignore[arg-type]
    return parts.authenticator, parts.new_key


def test_a_key_is_needed_beyond_this_machine_and_where_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, text = _built(tmp_path, monkeypatch, OUTSIDE)
    assert outside.principal(text).name == "first"
    for credential in ("", "ollama"):
        with pytest.raises(Unauthenticated):
            outside.principal(credential)
    said, none = _built(tmp_path, monkeypatch, HERE, auth="keys")
    assert none == ""
    with pytest.raises(Unauthenticated):
        said.principal("")
    here, _ = _built(tmp_path, monkeypatch, HERE)
    assert (here.principal("").id, here.principal(text).name) == ("anonymous", "first")
    nobody, _ = _built(tmp_path, monkeypatch, OUTSIDE, auth="none")
    assert nobody.principal(text) == ANONYMOUS


def test_a_server_on_this_machine_alone_makes_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _built(tmp_path, monkeypatch, HERE)
    assert not (tmp_path / "keys.json").exists()


@pytest.mark.parametrize("address", [OUTSIDE, HERE])
def test_a_server_whose_keys_are_damaged_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: Address
) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{}]}))
    with pytest.raises(BadInput, match="damaged"):
        _built(tmp_path, monkeypatch, address)


def test_a_key_is_not_made_where_the_server_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("no temporary folder")

    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    monkeypatch.setattr(app, "SocketFolder", fail)
    with pytest.raises(OSError, match="no temporary folder"):
        app.build(Settings(), OUTSIDE)
    assert not (tmp_path / "keys.json").exists()
