"""Prompts that outlive their model and their server: sealed, bounded, and found again by whoever sent them."""

import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import ask
from tests.keys import made

SECRET = "The lamp oil is behind the third stone. "
LONG = f"Answer as the keeper of a lighthouse would, who has seen many storms. {SECRET}" * 20


class Site:
    """A home whose servers come and go."""

    def __init__(self, serve: Callable[..., Server], models: Path, home: Path) -> None:
        self._serve, self._models, self.home = serve, models, home
        self.key = home / "key"
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o600)
        self.server: Server

    def start(self, **settings: str) -> None:
        """Another server on the same home."""
        settings = {"KEY_FILE": str(self.key), "NUM_PARALLEL": "2", "HOME": str(self.home)} | settings
        self.server = replace(self._serve(self._models, **settings), home=self.home)

    def restart(self, **settings: str) -> None:
        """End one in good order, and start the next."""
        self.server.stop()
        self.start(**settings)

    def cached(self, *texts: str, headers: Mapping[str, str] | None = None) -> int:
        """How many tokens of a conversation had been read already."""
        roles = ("system", *("user", "assistant") * len(texts))
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
        body = {"model": MODEL, "messages": messages, "max_tokens": 2, "temperature": 0}
        reply = ask(self.server, "POST", "/v1/chat/completions", body, headers)
        assert reply.status == 200, reply.body
        return int(reply.json["usage"]["prompt_tokens_details"]["cached_tokens"])

    def unload(self) -> None:
        """Let the model go."""
        assert self.server.post("/api/generate", {"model": MODEL, "keep_alive": 0})[0] == 200

    @property
    def files(self) -> list[Path]:
        """What is kept."""
        return [path for path in (self.home / "kv").rglob("*") if path.is_file()]


@pytest.fixture
def site(serve: Callable[..., Server], models_copy: Path, tmp_path: Path) -> Iterator[Site]:
    """A home with a server, and a model folder of its own."""
    (tmp_path / "home").mkdir()
    made = Site(serve, models_copy, tmp_path / "home")
    made.start()
    yield made
    made.server.stop()


@EVERY_ENGINE
def test_a_conversation_goes_on_after_an_unload_and_after_a_restart(site: Site) -> None:
    assert site.cached(LONG, "Hello") == 0
    site.unload()
    assert len(site.files) == 1
    assert site.cached(LONG, "Hello", "Ahoy!", "And now?") > 300
    site.restart()
    assert len(site.files) == 1  # the longer state has taken the place of its beginning
    assert site.cached(LONG, "Hello", "Ahoy!", "And now?", "Storm!", "And then?") > 300
    assert site.cached("Whales. " + LONG, "Hello") < 20
    site.restart()
    assert len(site.files) == 2


@EVERY_ENGINE
def test_nothing_of_it_lies_on_the_disk_in_the_clear(site: Site) -> None:
    site.cached(LONG, "Hello")
    site.unload()
    (path,) = site.files
    assert path.stat().st_mode & 0o077 == 0
    assert path.stat().st_size > 1 << 20
    for each in site.home.rglob("*"):
        if each.is_file():
            assert b"third stone" not in each.read_bytes(), each
    fields = re.fullmatch(
        r"([0-9a-f]{64})/[0-9a-f]{32}-[0-9a-f]{16}", path.relative_to(site.home / "kv").as_posix()
    )
    assert fields
    assert fields[1] == site.server.get("/api/tags")["models"][0]["digest"].removeprefix("sha256:")


@EVERY_ENGINE
def test_what_one_user_left_is_fetched_for_no_other(site: Site) -> None:
    anna, bert = (made(site.server, name) for name in ("anna", "bert"))
    site.cached(LONG, "Hello", headers=anna)
    site.restart()
    assert site.cached(LONG, "Hello", headers=bert) == 0
    assert site.cached(LONG, "Hello") == 0
    assert site.cached(LONG, "Hello", headers=anna) > 300
    site.restart()
    assert len(site.files) == 2  # there are two slots: what Bert left had made way


@EVERY_ENGINE
def test_a_damaged_state_is_removed_and_the_prompt_is_read_anew(site: Site) -> None:
    site.cached(LONG, "Hello")
    site.restart()
    (path,) = site.files
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert site.cached(LONG, "Hello") == 0
    assert not path.exists()


@pytest.mark.slow
@EVERY_ENGINE
@pytest.mark.parametrize("settings", [{"CONTEXT_LENGTH": "2048"}, {"KEY_FILE": ""}, {"MAX_KV_DISK": "0"}])
def test_a_state_of_other_settings_or_without_its_key_is_not_used(
    site: Site, settings: dict[str, str]
) -> None:
    site.cached(LONG, "Hello")
    site.restart(**settings)
    assert site.cached(LONG, "Hello") == 0


@EVERY_ENGINE
def test_a_server_that_is_killed_leaves_nothing_but_what_was_whole(site: Site) -> None:
    site.cached(LONG, "Hello")
    site.server.process.send_signal(signal.SIGTERM)
    site.server.process.kill()
    site.server.process.wait(10)
    half = site.home / "kv" / ("0" * 64) / f".{site.server.process.pid}-00"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    site.start()
    assert site.cached("Whales. " + LONG, "Hello") == 0
    assert not half.exists()
    site.unload()
    assert len(site.files) in (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"KEY_FILE": ""}, {"MAX_KV_DISK": "0"}, {"MAX_KV_DISK": "1MiB"}])
def test_without_a_key_or_room_nothing_is_kept(site: Site, settings: dict[str, Any]) -> None:
    site.restart(**settings)
    site.cached(LONG, "Hello")
    site.unload()
    assert site.files == []
    assert site.cached(LONG, "Hello") == 0


def test_what_is_kept_goes_with_its_model(site: Site) -> None:
    site.cached(LONG, "Hello")
    site.unload()
    assert site.files
    reply = ask(site.server, "DELETE", "/api/delete", {"model": MODEL})
    assert reply.status == 200
    assert site.files == []
