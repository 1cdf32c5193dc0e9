"""Deployments put into effect: the model loaded under its terms, tried, then served on its port; else all is as before."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from hutch.core.access import Principal
from hutch.core.backend import Backend
from hutch.core.chat import EmbedRequest, GenerateRequest, LoadOptions, RerankRequest, Sampling
from hutch.core.deployment import Deployment
from hutch.core.errors import Conflict, EngineFailed, HutchError, NotFound, RolledBack
from hutch.core.models import Model, Progress
from hutch.core.names import ModelName
from hutch.formats import headers
from hutch.runtime.scheduler import Library
from hutch.runtime.terms import NONE, Terms, TermsTable
from hutch.store import deployments
from hutch.store.deployments import Record, Recorded

_log = logging.getLogger(__name__)
_PRINCIPAL = Principal("deployment")
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
    """What is deployed on this server. One change at a time."""

    def __init__(self, backend: Backend, library: Library, terms: TermsTable) -> None:
        self.doors: Doors = NoDoors()  # until a server listens
        self.pending: set[str] = set()  # what a starting server still waits for, and what failed
        self._backend = backend
        self._library = library
        self._terms = terms
        self._changing = asyncio.Lock()
        self._serving: dict[int, Recorded] = {}
        self._problems: dict[int, str] = {}

    def told(self) -> list[dict[str, Any]]:
        """All of them, as the API has it."""
        rows = {record.port: record for record in deployments.read_all()}
        told = []
        for port in sorted({*rows, *self._serving, *self._problems}):
            recorded = self._serving.get(port) or rows[port].now
            problem = _absence(self._library, recorded) or self._problems.get(port, "")
            state = "failed" if problem else "ready" if port in self._serving else "starting"
            before = rows[port].before if port in rows else None
            told.append(
                {"port": port, "model": recorded.deployment.model.short, "state": state}
                | recorded.as_json()
                | {
                    "problem": problem,
                    "before": before.as_json() if before else None,
                    "recorded": port in rows,
                }
            )
        return told

    async def apply(
        self, deployment: Deployment, variant: ModelName | None, *, is_new: bool = True
    ) -> AsyncGenerator[Progress, None]:
        """Put one into effect. Raises RolledBack where it did not become ready, and then all is as before.

        One that is not new waits for its turn, and is not put on record.
        """
        async with self._alone() if is_new else self._changing:
            self._check(deployment, variant)
            port = deployment.port
            before = self._serving.get(port)
            is_new_port = self.doors.reserve(port)
            recorded = Recorded(deployment, variant, datetime.now(UTC).isoformat(timespec="seconds"))
            try:
                yield Progress(f"loading {deployment.model.short}")
                self._agree(recorded, Terms.of(deployment, variant))
                await self._backend.load(deployment.model, LoadOptions(), None)
                yield Progress("asking it")
                opened = await asyncio.to_thread(self._library.open, variant or deployment.model)
                await _ask(self._backend, deployment.model, opened)
                await self.doors.open(port, openai_compatible=deployment.openai_compatible)
                if is_new:
                    old = await asyncio.to_thread(deployments.find, port)
                    await asyncio.to_thread(deployments.keep, Record(recorded, _before(recorded, old)))
            except BaseException as error:
                await asyncio.shield(self._undo(recorded, before, is_new_port=is_new_port))
                if not isinstance(error, HutchError | OSError | TimeoutError):
                    raise
                raise _rolled_back(error, before) from error
            self._serving[port] = recorded
            self._problems.pop(port, None)
            if before and not before.deployment.model.same_as(deployment.model):
                await self._let_go(before)
            yield Progress("success")

    async def remove(self, port: int) -> None:
        """End one, and forget it. Raises NotFound."""
        async with self._alone():
            record = await asyncio.to_thread(deployments.find, port)
            serving = self._serving.pop(port, None)
            if record is None and serving is None:
                raise NotFound(f"nothing is deployed on port {port}", hint="See `hutch deploy list`.")
            await asyncio.to_thread(deployments.forget, port)
            self._problems.pop(port, None)
            await self.doors.close(port)
            if serving:
                await self._let_go(serving)

    async def restore(self, recorded: Recorded, *, is_recorded: bool = True) -> None:
        """Serve again what was deployed when the server ended. A failure is logged, and told by `told`."""
        deployment = recorded.deployment
        try:
            steps = self.apply(deployment, recorded.variant, is_new=False)
            async with aclosing(steps):
                async for step in steps:
                    _log.info("deployment on port %d: %s", deployment.port, step.status)
            if is_recorded:
                self._serving[deployment.port] = recorded
        except HutchError as error:
            self.failed(deployment.port, error.message)

    def failed(self, port: int, why: str) -> None:
        """Keep that a deployment is not served, and why."""
        self._problems[port] = why
        _log.error("the deployment on port %d is not ready: %s", port, why)

    @property
    def not_ready(self) -> str:
        """Why the server is not ready; "" where it is."""
        waiting = ", ".join(sorted(self.pending))
        failed = "; ".join(f"port {port}: {why}" for port, why in sorted(self._problems.items()))
        return f"waiting for {waiting}" if waiting else failed

    @property
    def is_needed(self) -> bool:
        """Whether something is deployed, or about to be."""
        return bool(self._serving or self.pending)

    def _alone(self) -> asyncio.Lock:
        if self._changing.locked():
            raise Conflict("another deployment is being changed", hint="Wait until that is done.")
        return self._changing

    def _check(self, deployment: Deployment, variant: ModelName | None) -> None:
        """Raise NotFound for a model that is not here, Conflict where another port has it under other terms."""
        for name in (deployment.model, *([variant] if variant else [])):
            self._library.stamp(name)
        for port, other in self._serving.items():
            is_same = other.deployment.model.same_as(deployment.model)
            terms = Terms.of(other.deployment, other.variant)
            if port != deployment.port and is_same and terms != Terms.of(deployment, variant):
                raise Conflict(
                    f"{deployment.model.short} is deployed on port {port} already, under other terms",
                    hint="Change that one, remove it, or give the model a second name with `hutch cp`.",
                )

    def _agree(self, recorded: Recorded, terms: Terms) -> None:
        self._terms.put(recorded.deployment.model, terms)
        if recorded.variant is not None:
            self._terms.put(recorded.variant, replace(terms, variant=None))

    async def _undo(self, failed: Recorded, before: Recorded | None, *, is_new_port: bool) -> None:
        """Have everything as it was."""
        self._agree(failed, NONE)
        if is_new_port:
            await self.doors.close(failed.deployment.port)
        others = [each for port, each in self._serving.items() if port != failed.deployment.port]
        for each in (*others, *([before] if before else [])):
            self._agree(each, Terms.of(each.deployment, each.variant))
        try:
            same = [each for each in (before, *others) if each and _is_of(each, failed)]
            if not same:
                await self._backend.unload(failed.variant or failed.deployment.model)
            for each in same[:1]:
                await self._backend.load(each.deployment.model, LoadOptions(), None)
            if before:
                await self.doors.open(
                    before.deployment.port, openai_compatible=before.deployment.openai_compatible
                )
        except HutchError as error:
            _log.error("after the deployment was rolled back: %s", error.message)

    async def _let_go(self, recorded: Recorded) -> None:
        """No longer hold a model, unless another port has it."""
        if any(_is_of(each, recorded) for each in self._serving.values()):
            return
        self._agree(recorded, NONE)
        try:
            await self._backend.unload(recorded.variant or recorded.deployment.model)
        except NotFound:
            _log.info("%s is gone from the store", recorded.deployment.model.short)


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
        library.stamp(recorded.variant or recorded.deployment.model)
    except NotFound as error:
        return error.message
    return ""


def _is_of(one: Recorded, other: Recorded) -> bool:
    return one.deployment.model.same_as(other.deployment.model)


def _before(recorded: Recorded, old: Record | None) -> Recorded | None:
    """What to go back to: the one that is replaced, or where that says the same, what it had replaced."""
    if old is None:
        return None
    is_same = (old.now.deployment, old.now.variant) == (recorded.deployment, recorded.variant)
    return old.before if is_same else old.now


def _rolled_back(error: BaseException, before: Recorded | None) -> RolledBack:
    message = error.message if isinstance(error, HutchError) else str(error) or "it took too long"
    hint = error.hint if isinstance(error, HutchError) else ""
    now = f"{before.deployment.model.short} is served as before." if before else "Nothing is served there."
    return RolledBack(f"the deployment did not become ready: {message}", hint=f"{hint} {now}".strip())
