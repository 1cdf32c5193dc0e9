"""`/api/queue`: who is served, who waits, and what everybody has had."""

from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.backend import Backend, Running
from hutch.runtime import machine
from hutch.runtime.ledger import Account, Ledger

JsonDict = dict[str, Any]


class Queue:
    """Answers by the backend and the ledger."""

    def __init__(
        self,
        backend: Backend,
        ledger: Ledger,
        max_queue: int,
        memory: Callable[[], tuple[int, int]] = machine.memory_bytes,
    ) -> None:
        self._backend = backend
        self._ledger = ledger
        self._max_queue = max_queue
        self._memory = memory

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        summary = "Who is served, who waits, and what everybody has had"
        return (Route(("GET",), "/api/queue", Action.SEE_QUEUE, self.queue, OLLAMA, summary=summary),)

    async def queue(self, call: Call) -> Response:
        """Everything; a key for some models sees these and itself."""
        running = [row for row in self._backend.running() if call.who.may_use(row.model.name)]
        sees_all = call.who.allowance.models is None
        accounts = [each for each in self._ledger.accounts() if sees_all or each.who == call.who]
        free_bytes, total_bytes = self._memory()
        return JSONResponse(
            {
                "slots": sum(row.num_slots for row in running),
                "busy": sum(row.busy_slots for row in running),
                "queued": sum(row.queued for row in running),
                "max_queue": self._max_queue,
                "models": [self._model(row) for row in running],
                "principals": [self._principal(each) for each in accounts],
                "memory": {"free_bytes": free_bytes, "total_bytes": total_bytes},
            }
        )

    def _model(self, row: Running) -> JsonDict:
        return {
            "name": row.model.name.short,
            "engine": row.engine,
            "state": row.state,
            "slots": row.num_slots,
            "busy": row.busy_slots,
            "queued": row.queued,
            "tokens_per_second": round(self._ledger.tokens_per_s(row.model.name), 2),
            "memory_bytes": row.memory_bytes,
        }

    def _principal(self, account: Account) -> JsonDict:
        allowance, now = account.who.allowance, self._ledger.clock()
        return {
            "id": account.who.id,
            "name": account.who.name,
            "weight": allowance.weight,
            "priority": allowance.priority,
            "busy": account.running,
            "queued": account.waiting,
            "tokens_per_second": round(account.rate.per_s(now), 2),
            "requests": account.num_requests,
            "refused": account.num_refused,
            "prompt_tokens": account.prompt_tokens,
            "completion_tokens": account.completion_tokens,
            "requests_last_minute": round(account.requests.used(now)),
            "requests_per_minute": allowance.requests_per_minute,
            "tokens_last_minute": round(account.tokens.used(now)),
            "tokens_per_minute": allowance.tokens_per_minute,
        }
