"""Catalogs that the settings name: files and addresses, a copy for when nobody answers, and what is refused."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hutch import config, places
from hutch.core.errors import BadInput, FormatError, SourceFailed
from hutch.store import catalog_sources, local
from hutch.store.catalog import MAX_CATALOG_BYTES
from hutch.store.wanted import Registry
from tests.unit.store.faulty_server import FaultyServer, faulty_server
from tests.unit.store.test_cards_file import CARD
from tests.unit.store.things import aged, name

OTHER = CARD.replace("models/house", "second/house")


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        running.files["/c.toml"] = CARD.encode()
        yield running


def named(found: catalog_sources.Found) -> list[str]:
    """Where the models of each layer come from."""
    return [layer.cards[0].variants[0].source for layer in found.layers]


def only_copy() -> Path:
    (copy,) = places.catalogs().iterdir()
    return copy


def test_a_catalog_is_fetched_once_and_then_again_when_its_copy_is_old(server: FaultyServer) -> None:
    url = f"{server.url}/c.toml"
    assert named(catalog_sources.layers([url])) == ["registry.acme.example/models/house:7b-q4"]
    server.files["/c.toml"] = OTHER.encode()
    assert named(catalog_sources.layers([url])) == ["registry.acme.example/models/house:7b-q4"]
    assert len(server.ranges) == 1
    aged(only_copy())
    found = catalog_sources.layers([url])
    assert (named(found), found.notes) == (["registry.acme.example/second/house:7b-q4"], ())
    assert only_copy().stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fault", ["503", "404", "gone"])
def test_where_nobody_answers_the_copy_is_used_and_that_is_said(server: FaultyServer, fault: str) -> None:
    url = f"{server.url}/c.toml"
    catalog_sources.layers([url])
    aged(only_copy(), hours=50)
    if fault == "gone":
        server.server_close()
    else:
        server.faults = [fault]
    found = catalog_sources.layers([url])
    assert named(found) == ["registry.acme.example/models/house:7b-q4"]
    (note,) = found.notes
    assert note.startswith(f"note: catalog {url}")
    assert note.endswith("the copy of 2 days ago is used")


def test_many_at_once_do_not_disturb_each_other(server: FaultyServer) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(catalog_sources.layers, [[f"{server.url}/c.toml"]] * 16))
    assert {len(each.layers) for each in found} == {1}
    assert {each.notes for each in found} == {()}
    assert only_copy().read_text() == CARD


def test_where_no_copy_can_be_kept_that_is_said(server: FaultyServer) -> None:
    places.home().mkdir()
    places.catalogs().write_text("in the way")
    found = catalog_sources.layers([f"{server.url}/c.toml"])
    assert named(found) == ["registry.acme.example/models/house:7b-q4"]
    assert "no copy of catalog" in found.notes[0]


def test_a_copy_from_the_future_is_fetched_anew(server: FaultyServer) -> None:
    url = f"{server.url}/c.toml"
    catalog_sources.layers([url])
    later_s = time.time() + 86400
    os.utime(only_copy(), (later_s, later_s))
    catalog_sources.layers([url])
    assert len(server.ranges) == 2


def test_without_a_copy_it_is_an_error_that_says_what_to_do(server: FaultyServer) -> None:
    server.faults = ["404"]
    with pytest.raises(SourceFailed, match="the server answered 404") as caught:
        catalog_sources.layers([f"{server.url}/c.toml?token=hush"])
    assert "hush" not in caught.value.message
    assert "setting catalog" in caught.value.hint
    assert not places.catalogs().exists()


def test_what_is_wrong_is_told_with_its_line_and_is_not_kept(server: FaultyServer) -> None:
    url = f"{server.url}/c.toml"
    catalog_sources.layers([url])
    aged(only_copy())
    server.files["/c.toml"] = CARD.replace('"instruct"', '"evil"').encode()
    with pytest.raises(FormatError, match=rf"^{url}: line 7: model house:7b: type: "):
        catalog_sources.layers([url])
    assert only_copy().read_text() == CARD


def test_an_endless_catalog_is_refused(server: FaultyServer) -> None:
    server.files["/c.toml"] = b"#" * (MAX_CATALOG_BYTES + 1)
    with pytest.raises(SourceFailed, match="more than 4194304 bytes"):
        catalog_sources.layers([f"{server.url}/c.toml"])


@pytest.mark.parametrize("url", ["http://models.example/c.toml", "https://[", "https://"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SourceFailed):
        catalog_sources.layers([url])


def test_files_are_those_below_home_or_anywhere(tmp_path: Path) -> None:
    places.home().mkdir()
    (places.home() / "team.toml").write_text(CARD)
    (tmp_path / "other.toml").write_text(OTHER)
    found = catalog_sources.layers(["team.toml", str(tmp_path / "other.toml")])
    assert named(found) == [
        "registry.acme.example/models/house:7b-q4",
        "registry.acme.example/second/house:7b-q4",
    ]
    with pytest.raises(FormatError, match=r"nosuch\.toml"):
        catalog_sources.layers(["nosuch.toml"])


def test_the_settings_say_which(monkeypatch: pytest.MonkeyPatch, server: FaultyServer) -> None:
    places.home().mkdir()
    (places.home() / "team.toml").write_text(CARD)
    (places.home() / "hutch.toml").write_text(f'catalog = ["team.toml", "{server.url}/c.toml"]\n')
    server.files["/c.toml"] = OTHER.encode()
    found = local.local_catalog().chosen(name("house:7b"))
    assert found is not None
    assert found.location == "registry.acme.example/second/house:7b-q4"
    monkeypatch.setenv("HUTCH_CATALOG", "team.toml, ")
    found = local.local_catalog().chosen(name("house:7b"))
    assert found is not None
    assert found.location == "registry.acme.example/models/house:7b-q4"


@pytest.mark.parametrize("said", ["ftp://x/c.toml", "https://me:hush@x.example/c.toml"])
def test_a_catalog_is_a_file_or_an_address_without_a_password(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("HUTCH_CATALOG", said)
    with pytest.raises(BadInput, match=r"^setting 'catalog': ") as caught:
        config.load()
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", Registry()),
        ("mirror.example", Registry("mirror.example")),
        ("https://mirror.example:5000", Registry("mirror.example:5000")),
        ("http://127.0.0.1:5000", Registry("127.0.0.1:5000", is_plain=True)),
    ],
)
def test_a_mirror_of_the_registry(said: str, expected: Registry) -> None:
    assert local.mirror(said) == expected


@pytest.mark.parametrize("said", ["ftp://x", "a b", "mirror/library", "http://me:hush@x", "-x"])
def test_a_registry_is_a_host(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("HUTCH_REGISTRY", said)
    with pytest.raises(BadInput, match=r"^setting 'registry': write host"):
        config.load()
