"""Deployments put into effect: the model loaded under its terms, tried, then served on its port; else all is as before."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from hutch.core.access import Principal
from hutch.core.backend import Backend
from hutch.core.chat import EmbedRequest, GenerateRequest, LoadOptions, RerankRequest, Sampling
from hutch.core.deployment import Deployment
from hutch.core.errors import Conflict, EngineFailed, HutchError, NotFound, RolledBack
from hutch.core.models import Model, Progress
from hutch.core.names import ModelName
from hutch.formats import headers
from hutch.runtime.deployed import Deployed, contradicts, share, terms_of
from hutch.runtime.planning import Library
from hutch.runtime.terms import NONE, TermsTable
from hutch.store import deployments
from hutch.store.deployments import Recorded

T = TypeVar("T")
_log = logging.getLogger(__name__)
_PRINCIPAL = Principal("deployment", may_return=False)
_ANSWER_WITHIN_S = 120.0


class Doors(Protocol):
    """The ports of a server beside its own."""

    def reserve(self, port: int) -> bool:
        """Take a port, without answering there yet; False where it is open already. Raises Conflict."""

    async def open(self, port: int, *, openai_compatible: bool) -> None:
        """Answer there, or go on to, in this way."""

    async def close(self, port: int) -> None:
        """Answer there no more."""


class NoDoors:
    """What a server has that does not listen."""

    def reserve(self, port: int) -> bool:
        """Refuse."""
        raise Conflict(f"this server cannot listen on port {port}")

    async def open(self, port: int, *, openai_compatible: bool) -> None:
        """Do nothing: none was reserved."""

    async def close(self, port: int) -> None:
        """Do nothing: none is open."""


class Deployer:
    """Changes what is deployed on this server. One change at a time."""

    def __init__(self, backend: Backend, library: Library, terms: TermsTable) -> None:
        self.doors: Doors = NoDoors()  # until a server listens
        self.deployed = Deployed()
        self._backend = backend
        self._library = library
        self._terms = terms
        self._changing = asyncio.Lock()

    async def told(self) -> list[dict[str, Any]]:
        """All of them, as the API has it."""
        on_record = await asyncio.to_thread(deployments.read_all)
        return self.deployed.rows(on_record, partial(_absence, self._library))

    async def apply(
        self, deployment: Deployment, variant: ModelName | None
    ) -> AsyncGenerator[Progress, None]:
        """Put one into effect. Raises RolledBack where it did not become ready, and then all is as before."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        async with self._alone(), aclosing(self._put(Recorded(deployment, variant, now))) as steps:
            async for step in steps:
                yield step

    async def rollback(self, port: int) -> AsyncGenerator[Progress, None]:
        """Put the one into effect that was there before. Raises NotFound, and what `apply` raises."""
        async with self._alone():
            record = await asyncio.to_thread(deployments.find, port)
            if record is None or record.before is None:
                raise NotFound(
                    f"port {port} has no deployment to go back to", hint="See `hutch deploy list`."
                )
            before = record.before._replace(applied_at=datetime.now(UTC).isoformat(timespec="seconds"))
            async with aclosing(self._put(before)) as steps:
                async for step in steps:
                    yield step

    async def remove(self, port: int) -> None:
        """End one, and forget it. Raises NotFound."""
        async with self._alone():
            is_recorded = await asyncio.to_thread(deployments.is_kept, port)
            if not is_recorded and not self.deployed.knows(port):
                raise NotFound(f"nothing is deployed on port {port}", hint="See `hutch deploy list`.")
            await _to_its_end(self._end(port))

    async def restore(self, recorded: Recorded) -> None:
        """Serve what is expected on a port. A failure is logged, and told by `told`."""
        try:
            async with self._changing:
                if not self.deployed.is_awaited(recorded.port):
                    return
                async with aclosing(self._put(recorded, is_new=False)) as steps:
                    async for step in steps:
                        _log.info("deployment on port %d: %s", recorded.port, step.status)
        except HutchError as error:
            self.deployed.failed(recorded.port, recorded, error.message)

    def _alone(self) -> asyncio.Lock:
        if self._changing.locked():
            raise Conflict("another deployment is being changed", hint="Wait until that is done.")
        return self._changing

    async def _put(self, recorded: Recorded, *, is_new: bool = True) -> AsyncGenerator[Progress, None]:
        """Put one into effect; what is not new is on record already, or is not to be."""
        self._check(recorded)
        deployment, variant, _ = recorded
        before = self.deployed.serving.get(recorded.port)
        is_new_port = self.doors.reserve(recorded.port)
        try:
            yield Progress(f"loading {deployment.model.short}")
            self._terms.put_all(terms_of(recorded))
            await self._backend.load(deployment.model, LoadOptions(), None)
            yield Progress("asking it")
            opened = await asyncio.to_thread(self._library.open, variant or deployment.model)
            await _ask(self._backend, deployment.model, opened)
            await self.doors.open(recorded.port, openai_compatible=deployment.openai_compatible)
            await _to_its_end(self._commit(recorded, is_new=is_new))
        except BaseException as error:
            if self.deployed.serving.get(recorded.port) is recorded:
                raise  # who asked for it has left, and it is done
            problem = await _to_its_end(self._undo(recorded, before, is_new_port=is_new_port))
            if not isinstance(error, HutchError | OSError | TimeoutError):
                raise
            raise _rolled_back(error, before, problem) from error
        yield Progress("success")

    def _check(self, recorded: Recorded) -> None:
        """Raise NotFound for a model that is not here, Conflict where another port has it under other terms."""
        model = recorded.deployment.model
        for name in (model, recorded.loads):
            self._library.stamp(name)
        for port, other in self.deployed.serving.items():
            if port != recorded.port and contradicts(recorded, other):
                raise Conflict(
                    f"{model.short}, or what is loaded in its place, is deployed on port {port} already, under other terms",
                    hint="Change that one, remove it, or give the model a second name with `hutch cp`.",
                )

    async def _commit(self, recorded: Recorded, *, is_new: bool) -> None:
        """From here on it is what is served. Raises OSError, and then it is not."""
        if is_new:
            await asyncio.to_thread(deployments.supersede, recorded)
        before = self.deployed.serving.get(recorded.port)
        self.deployed.serves(recorded)
        if before:
            await self._let_go(before)

    async def _undo(self, failed: Recorded, before: Recorded | None, *, is_new_port: bool) -> str:
        """Have everything as it was. Says what could not be had again."""
        if is_new_port:
            await self.doors.close(failed.port)
        problem = ""
        try:
            if before:
                await self.doors.open(before.port, openai_compatible=before.deployment.openai_compatible)
            await self._let_go(failed)
            for each in self.deployed.serving.values():
                if share(each, failed):
                    await self._backend.load(each.deployment.model, LoadOptions(), None)
        except (HutchError, OSError, TimeoutError) as error:
            problem = error.message if isinstance(error, HutchError) else str(error) or type(error).__name__
        if problem:
            for each in self.deployed.serving.values():
                if share(each, failed):
                    why = f"it could not be had again when a deployment was rolled back: {problem}"
                    self.deployed.failed(each.port, each, why)
        return problem

    async def _end(self, port: int) -> None:
        await asyncio.to_thread(deployments.forget, port)
        serving = self.deployed.serving.get(port)
        self.deployed.forget(port)
        await self.doors.close(port)
        if serving:
            await self._let_go(serving)

    async def _let_go(self, gone: Recorded) -> None:
        """Neither keep its terms nor hold its model, but where another port does."""
        self._terms.put_all(dict.fromkeys(terms_of(gone), NONE))
        for each in self.deployed.serving.values():
            self._terms.put_all(terms_of(each))
        if self.deployed.means(gone.loads) or self._terms.of(gone.loads).variant:
            return  # what is loaded in place of a model has it let go
        try:
            await self._backend.unload(gone.loads)
        except HutchError as error:
            _log.info("%s was not let go: %s", gone.loads.short, error.message)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What this comes to. It is done whole, also where whoever waits for it leaves meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


async def _ask(backend: Backend, name: ModelName, model: Model) -> None:
    """Have the model answer something. Raises HutchError where it does not, TimeoutError where it takes long."""
    facts = await asyncio.to_thread(headers.facts, model)
    async with asyncio.timeout(_ANSWER_WITHIN_S):
        if facts.is_reranker:
            await backend.rerank(RerankRequest(name, "ready?", ("yes",)), _PRINCIPAL)
        elif facts.is_embedding:
            await backend.embed(EmbedRequest(name, ("ready?",)), _PRINCIPAL)
        else:
            sampling = Sampling(temperature=0.0, max_tokens=1)
            request = GenerateRequest(name, prompt="Ready?", sampling=sampling)
            async with aclosing(backend.generate(request, _PRINCIPAL)) as chunks:
                usage = [chunk.usage async for chunk in chunks][-1]
            if usage is None or not usage.prompt_tokens:
                raise EngineFailed("the model was asked something, and gave no answer")


def _absence(library: Library, recorded: Recorded) -> str:
    """What is to be told of a deployment whose model has gone; "" where it is there."""
    try:
        library.stamp(recorded.loads)
    except NotFound as error:
        return error.message
    return ""


def _rolled_back(error: BaseException, before: Recorded | None, problem: str) -> RolledBack:
    message = error.message if isinstance(error, HutchError) else str(error) or "it took too long"
    hint = error.hint if isinstance(error, HutchError) else ""
    now = f"{before.deployment.model.short} is served as before." if before else "Nothing is served there."
    if problem:
        now = f"What was there before could not be had again: {problem}. See `hutch deploy list`."
    return RolledBack(f"the deployment did not become ready: {message}", hint=f"{hint} {now}".strip())
