"""What is deployed on this server: served, still awaited, or failed. A table; it loads nothing and waits for nothing."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from hutch.core.errors import Damaged
from hutch.core.names import ModelName
from hutch.runtime.terms import Terms
from hutch.store.deployments import Record, Recorded, row

_log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """Why a deployment is not served. `recorded` is None where what is on record cannot be read."""

    recorded: Recorded | None
    why: str


class Deployed:
    """The deployments by port."""

    def __init__(self) -> None:
        self.serving: dict[int, Recorded] = {}
        self._awaited: dict[int, Recorded] = {}
        self._problems: dict[int, Problem] = {}
        self._is_broken = False
        self.is_read = True  # a server that starts has still to look at what is on record

    def expect(self, recorded: Recorded) -> None:
        """Not be ready until this one is served, or failed."""
        self._awaited[recorded.port] = recorded

    def is_awaited(self, port: int) -> bool:
        """Whether the deployment that a starting server expects there has had no turn, and was neither replaced nor removed."""
        return port in self._awaited

    def serves(self, recorded: Recorded) -> None:
        """Keep that this one is served."""
        self.forget(recorded.port)
        self.serving[recorded.port] = recorded

    def failed(self, port: int, recorded: Recorded | None, why: str) -> None:
        """Keep that a deployment is not served, and why."""
        self._awaited.pop(port, None)
        self._problems[port] = Problem(recorded, why)
        _log.error("the deployment on port %d is not ready: %s", port, why)

    def broke(self, error: BaseException) -> None:
        """Keep that the start ended before its time: what was awaited is never served."""
        self._is_broken = True
        _log.error("what was deployed before could not be served", exc_info=error)
        for port, recorded in tuple(self._awaited.items()):
            self.failed(port, recorded, "an internal error, which the server's log has")

    def forget(self, port: int) -> None:
        """Know nothing more of a port."""
        self.serving.pop(port, None)
        self._awaited.pop(port, None)
        self._problems.pop(port, None)

    def knows(self, port: int) -> bool:
        """Whether anything is to be told of a port."""
        return port in self.serving or port in self._awaited or port in self._problems

    def means(self, name: ModelName) -> bool:
        """Whether one that is served is answered by the model of this name."""
        return any(each.loads.same_as(name) for each in self.serving.values())

    @property
    def is_ready(self) -> bool:
        """Whether all of them are served."""
        return self.is_read and not (self._awaited or self._problems or self._is_broken)

    @property
    def is_needed(self) -> bool:
        """Whether something is deployed, or ought to be."""
        return bool(self.serving or self._awaited or self._problems)

    def rows(
        self, on_record: Mapping[int, Record | Damaged], absence: Callable[[Recorded], str]
    ) -> list[dict[str, Any]]:
        """All of them, as the API has it. `absence` says of one that its model has gone."""
        told = []
        for port in sorted({*on_record, *self.serving, *self._problems, *self._awaited}):
            on_disk = on_record.get(port)
            record = on_disk if isinstance(on_disk, Record) else None
            problem = self._problems.get(port) or Problem(None, "")
            recorded = self.serving.get(port) or problem.recorded or self._awaited.get(port)
            recorded = recorded or (record.now if record else None)
            why = (absence(recorded) if recorded else "") or problem.why
            if isinstance(on_disk, Damaged):
                why = why or f"{on_disk.message}. {on_disk.hint}"
            state = "failed" if why else "ready" if port in self.serving else "starting"
            told.append(row(port, recorded, record, state, why) | {"recorded": on_disk is not None})
        return told


def terms_of(recorded: Recorded) -> dict[ModelName, Terms]:
    """The terms of the model, and of what is loaded in its place."""
    terms = Terms.of(recorded.deployment, recorded.variant)
    of_model = {recorded.deployment.model.folded: terms}
    if recorded.variant is None:
        return of_model
    return {recorded.variant.folded: replace(terms, variant=None)} | of_model


def contradicts(one: Recorded, other: Recorded) -> bool:
    """Whether both cannot be served at once, as they have a model under different terms."""
    theirs = terms_of(other)
    return any(theirs.get(name, terms) != terms for name, terms in terms_of(one).items())


def share(one: Recorded, other: Recorded) -> bool:
    """Whether a model is of both."""
    return not terms_of(one).keys().isdisjoint(terms_of(other))
