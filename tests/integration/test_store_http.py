"""Downloads from servers that stall, lie, fail and lead astray."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hutch.core.errors import HutchError, SourceFailed
from hutch.core.models import Progress
from hutch.store import addresses, download
from hutch.store.addresses import Reach
from hutch.store.download import Patience
from hutch.store.sources import https
from hutch.store.store import ModelStore
from hutch.store.wanted import Wanted
from tests.unit.store.faulty_server import FaultyServer, faulty_server
from tests.unit.store.things import blob_names, digest_of, flipped, model_bytes, name, statuses, store_in

DATA = model_bytes(more_bytes=3 << 20)
X = name("x")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(https, "PATIENCE", Patience(stall_s=0.3, tries=3, pause_s=0.01))
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        running.files["/x.gguf"] = DATA
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return store_in(tmp_path / "models")


def known(server: FaultyServer, store: ModelStore, data: bytes = DATA) -> ModelStore:
    """The store with a catalog that knows the digest."""
    entry = Wanted("https", f"{server.url}/x.gguf", digest_of(data), len(data))
    return store_in(store.root, {X: entry})


def test_downloads_and_tells_how_far_it_is(server: FaultyServer, store: ModelStore) -> None:
    told = list(known(server, store).pull(X))
    bytes_told = [each.completed for each in told if each.digest == digest_of(DATA)]
    assert bytes_told[-1] == len(DATA)
    assert {each.total for each in told if each.digest} == {len(DATA)}
    assert told[0] == Progress("pulling manifest")
    assert f"pulling {digest_of(DATA)[7:19]}" in statuses(told)
    assert store.open(X).weights[0].read_bytes() == DATA


def test_a_name_is_made_of_the_address(server: FaultyServer, store: ModelStore) -> None:
    statuses(store.pull(None, f"{server.url}/x.gguf?secret=1"))
    assert store.open(name("x")).weights[0].read_bytes() == DATA


@pytest.mark.parametrize("fault", ["short", "stall", "503", "429", "500"])
@pytest.mark.parametrize("is_known", [True, False])
def test_goes_on_after_a_fault(server: FaultyServer, store: ModelStore, fault: str, is_known: bool) -> None:
    server.faults = ["", fault] if fault.isdigit() and not is_known else [fault]
    if is_known:
        statuses(known(server, store).pull(X))
    else:
        statuses(store.pull(X, f"{server.url}/x.gguf"))
    assert store.open(X).weights[0].read_bytes() == DATA
    if not fault.isdigit():
        assert server.ranges[-1] == f"bytes={len(DATA) // 2}-"


def test_without_a_known_digest_or_an_etag_it_begins_again(server: FaultyServer, store: ModelStore) -> None:
    server.has_etags = False
    server.faults = ["short"] * 9
    with pytest.raises(SourceFailed):
        statuses(store.pull(X, f"{server.url}/x.gguf"))
    assert blob_names(store) == []
    server.faults = []
    statuses(store.pull(X, f"{server.url}/x.gguf"))
    assert store.open(X).weights[0].read_bytes() == DATA


def test_gives_up_after_several_failures_and_keeps_what_it_has(
    server: FaultyServer, store: ModelStore
) -> None:
    server.files["/x.gguf"] = small = model_bytes(more_bytes=1 << 19)
    server.faults = ["short", "503", "503", "503", "503"]
    with pytest.raises(SourceFailed, match="503"):
        statuses(known(server, store, small).pull(X))
    assert blob_names(store) == [digest_of(small).replace(":", "-") + "-partial"]
    server.faults = []
    statuses(known(server, store, small).pull(X))
    assert server.ranges[-1] == f"bytes={len(small) // 2}-"
    assert store.open(X).weights[0].read_bytes() == small


def test_another_file_behind_the_address_is_not_glued_to_the_first(
    server: FaultyServer, store: ModelStore
) -> None:
    server.faults = ["short", "500", "500", "500"]
    with pytest.raises(SourceFailed):
        statuses(store.pull(X, f"{server.url}/x.gguf"))
    server.files["/x.gguf"] = other = model_bytes(7, more_bytes=2 << 20)
    server.faults = []
    statuses(store.pull(X, f"{server.url}/x.gguf"))
    assert store.open(X).weights[0].read_bytes() == other


def test_a_200_instead_of_a_206_begins_again(server: FaultyServer, store: ModelStore) -> None:
    server.faults = ["short", "ignore-range"]
    statuses(known(server, store).pull(X))
    assert store.open(X).weights[0].read_bytes() == DATA


def test_what_an_earlier_try_left_may_be_wrong(server: FaultyServer, store: ModelStore) -> None:
    blobs = store.root / "blobs"
    blobs.mkdir(parents=True)
    partial = blobs / (digest_of(DATA).replace(":", "-") + "-partial")
    for left in (b"\0" * 1000, b"\0" * len(DATA), b"\0" * (len(DATA) + 1), DATA):
        partial.write_bytes(left)
        statuses(known(server, store).pull(X))
        assert store.open(X).weights[0].read_bytes() == DATA
        store.delete(X)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (["short", "wrong-range"], "another range"),
        (["404"], "answered 404"),
        (["403"], "answered 403"),
        (["206"], "answered 206"),
        (["204"], "answered 204"),
    ],
)
def test_lies_and_refusals_are_errors(
    server: FaultyServer, store: ModelStore, faults: list[str], words: str
) -> None:
    server.faults = faults
    with pytest.raises(SourceFailed, match=words):
        statuses(known(server, store).pull(X))
    assert store.list() == []


@pytest.mark.parametrize("body", [DATA[:-1], DATA + b"x", flipped(DATA), b"", b"<html>Log in!</html>"])
@pytest.mark.parametrize("fault", ["", "chunked", "long"])
def test_other_bytes_than_the_catalogs_get_no_name(
    server: FaultyServer, store: ModelStore, body: bytes, fault: str
) -> None:
    server.files["/x.gguf"] = body
    server.faults = [fault] * 3
    with pytest.raises(SourceFailed):
        statuses(known(server, store).pull(X))
    assert store.list() == []
    assert [each for each in blob_names(store) if not each.endswith("-partial")] == []


def test_an_endless_body_is_cut_off(
    server: FaultyServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_FILE_BYTES", 1 << 20)
    for fault in ("chunked", ""):
        server.faults = [fault]
        with pytest.raises(SourceFailed, match="more than"):
            statuses(store.pull(X, f"{server.url}/x.gguf"))
    assert blob_names(store) == []


def test_a_login_page_is_no_model(server: FaultyServer, store: ModelStore) -> None:
    server.files["/x.gguf"] = b"<html>Log in!</html>" * 100
    with pytest.raises(HutchError):
        statuses(store.pull(X, f"{server.url}/x.gguf"))
    assert store.list() == []
    assert blob_names(store) == []


def test_follows_redirects_and_not_for_ever(server: FaultyServer, store: ModelStore) -> None:
    server.redirects = {f"/{n}": f"/{n + 1}" for n in range(4)} | {"/4": "/x.gguf", "/loop": "/loop"}
    statuses(store.pull(X, f"{server.url}/0"))
    assert store.open(X).weights[0].read_bytes() == DATA
    with pytest.raises(SourceFailed, match="more than 5 times"):
        statuses(store.pull(name("y"), f"{server.url}/loop"))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "data:,x"])
def test_does_not_leave_http(server: FaultyServer, store: ModelStore, target: str) -> None:
    server.redirects["/x.gguf"] = target
    with pytest.raises(SourceFailed, match="not https"):
        statuses(store.pull(X, f"{server.url}/x.gguf"))


@pytest.mark.parametrize(
    "target", ["http://[", "http://127.0.0.1:99999/x", "http://", "http://\u2100/x", "//"]
)
def test_nonsense_is_no_address(server: FaultyServer, store: ModelStore, target: str) -> None:
    server.redirects["/x.gguf"] = target.encode().decode("latin-1")
    for address in (f"{server.url}/x.gguf", target):
        with pytest.raises(HutchError):
            statuses(store.pull(X, address))


def test_this_machine_may_not_send_us_elsewhere_without_tls(server: FaultyServer, store: ModelStore) -> None:
    server.redirects["/x.gguf"] = "http://192.0.2.1/x.gguf"
    with pytest.raises(SourceFailed, match="not https"):
        statuses(store.pull(X, f"{server.url}/x.gguf"))


def resolve_to(monkeypatch: pytest.MonkeyPatch, **hosts: str) -> None:
    """Let names mean addresses when they are looked up, whatever is connected to."""
    real = socket.getaddrinfo

    def look_up(host: str, *rest: object, **more: object) -> object:
        return real(hosts.get(host.partition(".")[0], host), *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize(
    "target", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "[fd00::1]", "0.0.0.0", "2130706433"]
)
def test_a_public_host_cannot_lead_to_a_private_one(
    server: FaultyServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    asked: list[str] = []
    reach = addresses._reach
    monkeypatch.setattr(addresses, "_reach", lambda url: Reach.PUBLIC if "public" in url else reach(url))
    monkeypatch.setattr(addresses, "_check_peer", lambda response, *_: asked.append(str(response.url)))
    resolve_to(monkeypatch, public="127.0.0.1")
    port = server.server_address[1]
    server.redirects["/start"] = f"http://{target}:{port}/x.gguf"
    with pytest.raises(SourceFailed, match="private network"):
        statuses(store.pull(X, f"http://public.localhost:{port}/start", insecure=True))
    assert asked == [f"http://public.localhost:{port}/start"]


def test_a_name_that_means_another_address_once_connected_is_found_out(
    server: FaultyServer, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_reach", lambda url: Reach.PUBLIC)
    with pytest.raises(SourceFailed, match="private network"):
        statuses(store.pull(X, f"{server.url}/x.gguf"))


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("127.0.0.1", Reach.THIS_MACHINE),
        ("0.0.0.0", Reach.THIS_MACHINE),
        ("10.1.2.3", Reach.PRIVATE),
        ("169.254.169.254", Reach.NOWHERE),
        ("[::ffff:169.254.169.254]", Reach.NOWHERE),
        ("[fe80::1]", Reach.NOWHERE),
        ("[::1]", Reach.THIS_MACHINE),
        ("[::ffff:10.0.0.1]", Reach.PRIVATE),
        ("localhost", Reach.THIS_MACHINE),
        ("1.1.1.1", Reach.PUBLIC),
        ("[2606:4700::1]", Reach.PUBLIC),
    ],
)
def test_tells_public_addresses_from_private_ones(address: str, reach: Reach) -> None:
    assert addresses._reach(f"https://{address}/x") is reach


@pytest.mark.parametrize("target", ["http://169.254.169.254/x", "http://[fe80::1]/x"])
def test_nothing_leads_to_a_clouds_metadata(server: FaultyServer, store: ModelStore, target: str) -> None:
    server.redirects["/x.gguf"] = target
    with pytest.raises(SourceFailed, match="private network"):
        statuses(store.pull(X, f"{server.url}/x.gguf", insecure=True))


def test_plain_http_needs_this_machine_or_insistence(store: ModelStore) -> None:
    with pytest.raises(SourceFailed, match="not https"):
        statuses(store.pull(X, "http://192.0.2.1/x.gguf"))


def test_secrets_in_an_address_are_not_shown(server: FaultyServer, store: ModelStore) -> None:
    server.faults = ["404"]
    address = server.url.replace("://", "://me:hush@") + "/x.gguf?token=hush"
    with pytest.raises(SourceFailed) as caught:
        statuses(store.pull(X, address))
    assert "hush" not in caught.value.message + caught.value.hint


def test_a_server_that_is_not_there_is_an_error(store: ModelStore) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        before_s = time.monotonic()
        with pytest.raises(SourceFailed, match="3 times"):
            statuses(store.pull(X, f"http://127.0.0.1:{taken.getsockname()[1]}/x.gguf"))
        assert time.monotonic() - before_s < 5
