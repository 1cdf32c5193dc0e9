"""`hutch keys` and `hutch top`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hutch.cli import keys, main, top
from hutch.core.errors import BadInput
from hutch.security.authn import Keys, Watched
from hutch.security.keys import KeyFile

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own."""
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    monkeypatch.delenv("HUTCH_HOST", raising=False)
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (None, None), ("30d", NOW + timedelta(days=30)), ("2w", NOW + timedelta(days=14)), ("1y", NOW + timedelta(days=365)),
        ("12h", NOW + timedelta(hours=12)), ("1h30m", NOW + timedelta(minutes=90)), ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T10:00:00+02:00", datetime(2027, 1, 31, 8, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_when_a_key_ends(text: str | None, ends: datetime | None) -> None:
    assert keys.expiry(text, NOW) == ends


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0d",
        "-5d",
        "-1h",
        "soon",
        "30",
        "2020-01-01",
        "2027-02-30",
        "99999d",
        "101y",
        "1e9h",
        "9999999h",
    ],
)
def test_an_end_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        keys.expiry(text, NOW)


def test_a_key_is_made_used_listed_and_revoked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--expires",
        "30d",
        "--model",
        "smollm2:135m",
        "--model",
        "tiny",
        "--weight",
        "2",
        "--tokens-per-minute",
        "900",
    ]
    assert main.main(["keys", "create", "anna", *words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["models"], made["weight"]) == ("anna", ["smollm2:135m", "tiny:latest"], 2.0)
    known = Keys(Watched(KeyFile(home / "keys.json")))
    assert known.principal(made["key"]).allowance.tokens_per_minute == 900

    assert main.main(["keys", "create", "ben"]) == 0
    out, err = capsys.readouterr()
    assert known.principal(out.strip()).name == "ben"
    assert "only now" in err

    assert main.main(["keys", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert [row["name"] for row in json.loads(listed)["keys"]] == ["anna", "ben"]
    assert main.main(["keys", "list"]) == 0
    table = capsys.readouterr().out
    assert "smollm2:135m, tiny:latest" in table
    for text in (made["key"], out.strip()):
        assert text not in listed + table
    assert main.main(["keys", "revoke", "anna"]) == 0
    assert main.main(["keys", "revoke", "anna"]) == 4
    assert main.main(["keys", "create", "ben"]) == 5
    assert main.main(["keys", "create", "a b"]) == 2
    assert main.main(["keys", "create", "c", "--model", "!!"]) == 2
    assert main.main(["keys", "create", "c", "--weight", "0"]) == 2
    assert [key.name for key in KeyFile(home / "keys.json").read()] == ["ben"]


def test_whose_keys_they_are_is_said_where_the_server_is_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUTCH_HOST", "192.0.2.7")
    assert main.main(["keys", "list"]) == 0
    assert "not those of the server at http://192.0.2.7" in capsys.readouterr().err


TOLD: dict[str, Any] = {
    "slots": 4, "busy": 3, "queued": 1, "max_queue": 512, "memory": {"free_bytes": 8 * 10**9, "total_bytes": 16 * 10**9},
    "models": [{"name": "tiny:latest", "engine": "llama.cpp", "state": "ready", "slots": 4, "busy": 3, "queued": 1,
                "tokens_per_second": 12.34, "memory_bytes": 500 * 10**6}],
    "principals": [
        {"id": f"key:{name}", "name": name, "weight": 1.0, "priority": 0, "busy": busy, "queued": 0, "tokens_per_second": 1.0,
         "requests": 5, "refused": 0, "prompt_tokens": 10, "completion_tokens": 7} for name, busy in (("anna", 0), ("ben\x1b[2J", 3))],
}  # fmt: skip


def test_top_shows_models_and_who_uses_them_the_busiest_first() -> None:
    page = top.page(TOLD)
    assert "slots 3 of 4 busy, 1 waiting of 512 at most, memory 8 GB of 16 GB free" in page
    assert "12.3" in page
    assert page.index("ben") < page.index("anna")


def test_top_prints_the_apis_own_json_or_one_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hutch.cli.http.ask", lambda *_: TOLD)
    assert main.main(["top", "--once", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == TOLD
    assert main.main(["top", "--once"]) == 0
    assert "TOKENS/S" in capsys.readouterr().out
