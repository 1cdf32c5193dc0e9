"""Deployments that fail, change what they load, share it, or are left by who asked for them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hutch.api import starting
from hutch.app import App
from hutch.core.chat import LoadOptions
from hutch.core.deployment import Deployment
from hutch.core.errors import Conflict, Damaged, EngineFailed, NotFound, RolledBack, SourceFailed
from hutch.core.models import Model
from hutch.core.names import ModelName
from hutch.formats import headers
from hutch.runtime.deployer import Deployer
from hutch.runtime.terms import TermsTable
from hutch.store import deployments
from hutch.store.deployments import Recorded
from tests.fakes import FakeBackend
from tests.unit.runtime.things import facts, model

X, V, W = (ModelName.parse(name) for name in ("x", "v", "w"))


class Loads(FakeBackend):
    """Keeps what is loaded, as the scheduler does; what is in `broken` cannot be, and nothing can before `may_load`."""

    def __init__(self, terms: TermsTable) -> None:
        super().__init__()
        self.loaded: set[ModelName] = set()
        self.broken: set[ModelName] = set()
        self.may_load = asyncio.Event()
        self.may_load.set()
        self._terms = terms

    async def load(self, name: ModelName, options: LoadOptions, keep_alive_s: float | None) -> float:
        """Load what stands in the model's place, and let the model itself go."""
        wanted = self._terms.of(name).variant or name
        await self.may_load.wait()
        if wanted in self.broken:
            raise EngineFailed(f"{wanted.short} is broken")
        self.loaded = (self.loaded - {name}) | {wanted}
        return 0.0

    async def unload(self, name: ModelName) -> bool:
        """Let go what stands in its place."""
        self.loaded.discard(self._terms.of(name).variant or name)
        return True


class Shelf:
    """Has every model but `gone`."""

    def open(self, name: ModelName) -> Model:
        """The same for all."""
        self.stamp(name)
        return model()

    def stamp(self, name: ModelName) -> object:
        """Any."""
        if name.model == "odd":
            raise ZeroDivisionError
        if name.model == "gone":
            raise NotFound("model 'gone' not found")
        return 1

    def pull(self, name: ModelName) -> Iterator[Any]:
        """Nothing delivers."""
        raise SourceFailed(f"nobody has {name.short}")


@dataclass
class Ports:
    """Doors that open."""

    open_ports: dict[int, bool | None] = field(default_factory=dict)

    def reserve(self, port: int) -> bool:
        """Take one."""
        is_new = port not in self.open_ports
        self.open_ports.setdefault(port, None)
        return is_new

    async def open(self, port: int, *, openai_compatible: bool) -> None:
        """Open one."""
        self.open_ports[port] = openai_compatible

    async def close(self, port: int) -> None:
        """Close one."""
        self.open_ports.pop(port, None)


class Site:
    """A deployer, and what it works on."""

    def __init__(self) -> None:
        self.terms = TermsTable()
        self.backend = Loads(self.terms)
        self.ports = Ports()
        self.deployer = Deployer(self.backend, Shelf(), self.terms)
        self.deployer.doors = self.ports

    async def apply(
        self, name: ModelName = X, port: int = 8080, variant: ModelName | None = None, **said: Any
    ) -> list[str]:
        """The steps of one deployment."""
        async with aclosing(self.deployer.apply(Deployment(name, port, **said), variant)) as steps:
            return [step.status async for step in steps]

    async def rows(self) -> list[tuple[int, str, str]]:
        """Port, model, state."""
        return [(row["port"], row["model"], row["state"]) for row in await self.deployer.told()]

    async def starts(self, preload: str = "", port: int = 8080) -> None:
        """What a starting server does."""
        settings = SimpleNamespace(preload=preload, preload_port=port, hardware=())
        parts = cast("App", SimpleNamespace(settings=settings, store=Shelf()))
        await asyncio.gather(starting.begin(parts, self.deployer), return_exceptions=True)


@pytest.fixture(autouse=True)
def _headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "facts", lambda _: facts())


def test_a_preload_that_failed_is_told_and_can_be_removed() -> None:
    async def go() -> None:
        site = Site()
        await site.starts("gone")
        [row] = await site.deployer.told()
        assert (row["port"], row["model"], row["state"]) == (8080, "gone:latest", "failed")
        assert row["problem"] == "model 'gone' not found"  # which is so for as long as it is not fetched
        assert row["recorded"] is False
        assert site.deployer.deployed.is_needed
        assert not site.deployer.deployed.is_ready
        await site.deployer.remove(8080)
        assert await site.rows() == []
        assert site.deployer.deployed.is_ready
        with pytest.raises(NotFound):
            await site.deployer.remove(8080)

    asyncio.run(go())


def test_what_a_deployment_no_longer_loads_is_let_go() -> None:
    async def go() -> None:
        site = Site()
        for variant in (None, V, W, None):
            await site.apply(variant=variant)
            assert site.backend.loaded == {variant or X}
            assert [name for name in (V, W) if site.terms.of(name).is_pinned] == (
                [variant] if variant else []
            )
        await site.apply(W)
        assert site.backend.loaded == {W}
        assert not site.terms.of(X).is_pinned
        await site.deployer.remove(8080)
        assert site.backend.loaded == set()

    asyncio.run(go())


@pytest.mark.parametrize(("before", "after"), [(None, V), (V, None), (V, W)])
def test_a_variant_that_cannot_be_loaded_leaves_what_was_there(
    before: ModelName | None, after: ModelName | None
) -> None:
    async def go() -> None:
        site = Site()
        await site.apply(variant=before)
        site.backend.broken.add(after or X)
        with pytest.raises(RolledBack, match="broken") as told:
            await site.apply(variant=after)
        assert "served as before" in told.value.hint
        assert site.backend.loaded == {before or X}
        assert site.terms.of(X).variant == before
        assert site.deployer.deployed.is_ready

    asyncio.run(go())


def test_two_ports_may_load_one_model_under_the_same_terms_alone() -> None:
    async def go() -> None:
        site = Site()
        await site.apply(X, 8001, V, max_context=512)
        with pytest.raises(Conflict, match="port 8001 already, under other terms"):
            await site.apply(V, 8002, max_context=1024)
        await site.apply(V, 8002, max_context=512)
        await site.deployer.remove(8001)
        assert site.backend.loaded == {V}
        assert (site.terms.of(V).max_num_ctx, site.terms.of(V).is_pinned) == (512, True)
        assert not site.terms.of(X).is_pinned

    asyncio.run(go())


def test_a_client_that_leaves_while_it_is_written_down_finds_it_done(monkeypatch: pytest.MonkeyPatch) -> None:
    supersede, writing = deployments.supersede, asyncio.Event()

    async def go() -> None:
        site, loop = Site(), asyncio.get_running_loop()

        def slowly(recorded: Recorded) -> None:
            loop.call_soon_threadsafe(writing.set)
            time.sleep(0.1)
            supersede(recorded)

        await site.apply(X)
        monkeypatch.setattr(deployments, "supersede", slowly)
        deploying = asyncio.create_task(site.apply(W))
        await writing.wait()
        deploying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deploying
        record = deployments.find(8080)
        assert record is not None
        assert record.now.deployment.model == W
        assert await site.rows() == [(8080, "w:latest", "ready")]
        assert site.backend.loaded == {W}

    asyncio.run(go())


def test_a_record_that_cannot_be_written_is_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(recorded: Recorded) -> None:
        raise OSError(28, "No space left on device")

    async def go() -> None:
        site = Site()
        await site.apply(X)
        monkeypatch.setattr(deployments, "supersede", full)
        with pytest.raises(RolledBack, match="No space left"):
            await site.apply(W)
        assert site.backend.loaded == {X}

    asyncio.run(go())


def test_a_roll_back_that_fails_is_no_success() -> None:
    async def go() -> None:
        site = Site()
        await site.apply(openai_compatible=False)
        site.backend.broken.add(X)
        with pytest.raises(RolledBack, match="did not become ready") as told:
            await site.apply(max_context=512)
        assert "could not be had again: x:latest is broken" in told.value.hint
        assert await site.rows() == [(8080, "x:latest", "failed")]
        assert not site.deployer.deployed.is_ready
        assert site.ports.open_ports == {8080: False}
        site.backend.broken.clear()
        await site.apply(max_context=512)
        assert site.deployer.deployed.is_ready

    asyncio.run(go())


def test_a_second_change_meanwhile_is_refused() -> None:
    async def go() -> None:
        site = Site()
        site.backend.may_load.clear()
        first = asyncio.create_task(site.apply())
        await asyncio.sleep(0.01)
        for second in (site.apply(W), site.deployer.remove(8080)):
            with pytest.raises(Conflict, match="another deployment is being changed"):
                await second
        site.backend.may_load.set()
        assert (await first)[-1] == "success"

    asyncio.run(go())


def test_a_damaged_record_is_told_and_keeps_no_other_from_being_served() -> None:
    async def go() -> None:
        before = Site()
        await before.apply(X, 8001)
        await before.apply(W, 8002)
        path = deployments.folder() / "8001.json"
        path.write_text("{")
        with pytest.raises(Damaged) as damage:
            deployments.find(8001)
        assert damage.value.http_status == 500
        site = Site()
        await site.starts()
        assert await site.rows() == [(8001, "", "failed"), (8002, "w:latest", "ready")]
        assert "hutch deploy remove 8001" in (await site.deployer.told())[0]["problem"]
        assert not site.deployer.deployed.is_ready
        await site.deployer.remove(8001)
        assert site.deployer.deployed.is_ready
        assert not path.exists()
        (deployments.folder() / "8002.json").rename(path)  # of another port
        with pytest.raises(Damaged, match="8002"):
            deployments.find(8001)
        await site.apply(X, 8001)
        assert await site.rows() == [(8001, "x:latest", "ready"), (8002, "w:latest", "ready")]

    asyncio.run(go())


def test_a_server_is_ready_only_when_every_port_answers() -> None:
    async def go() -> None:
        before = Site()
        await before.apply(X, 8001)
        site = Site()
        site.backend.may_load.clear()
        begun = asyncio.create_task(site.starts("x", 8002))  # the same model, on a second port
        seen = set()
        while not begun.done():
            await asyncio.sleep(0.002)
            seen.add((site.deployer.deployed.is_ready, len(site.ports.open_ports)))
            site.backend.may_load.set()
        assert await site.rows() == [(8001, "x:latest", "ready"), (8002, "x:latest", "ready")]
        assert {num_open for is_ready, num_open in seen if is_ready} <= {2}
        assert site.deployer.deployed.is_ready

    asyncio.run(go())


def test_what_is_removed_or_replaced_before_its_turn_is_not_served_again() -> None:
    async def go() -> None:
        before = Site()
        await before.apply(X, 8001)
        await before.apply(W, 8002)
        site = Site()
        record = deployments.find(8001), deployments.find(8002)
        for each in record:
            assert each is not None
            site.deployer.deployed.expect(each.now)
        await site.deployer.remove(8001)
        await site.apply(V, 8002)
        for each in record:
            assert each is not None
            await site.deployer.restore(each.now)
        assert await site.rows() == [(8002, "v:latest", "ready")]

    asyncio.run(go())


def test_a_start_that_breaks_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        site = Site()
        await site.starts("odd")
        assert not site.deployer.deployed.is_ready
        with pytest.raises(ZeroDivisionError):
            await site.rows()  # the shelf is as odd as before
        assert "ZeroDivisionError" in caplog.text
        assert "internal error" in caplog.text

    asyncio.run(go())
