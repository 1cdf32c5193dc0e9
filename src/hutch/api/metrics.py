"""`/metrics`: what the server counts, for Prometheus. `/api/metrics` is the same."""

import asyncio
import time
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from hutch import __version__
from hutch.api.activity import Activity
from hutch.api.ollama_wire import OLLAMA
from hutch.api.route import Call, Route
from hutch.core.access import Action
from hutch.core.backend import Backend
from hutch.hardware import nvidia, processes
from hutch.metrics.counters import Counters
from hutch.metrics.gauges import Snapshot, families
from hutch.runtime import machine

_FRESH_S = 1.0  # several who scrape at once look once


class MetricsRoutes:
    """The routes, and what is counted and looked at."""

    def __init__(self, backend: Backend, counters: Counters, activity: Activity) -> None:
        self._backend = backend
        self._counters = counters
        self._activity = activity
        self._looking = asyncio.Lock()
        self._last: tuple[float, Snapshot] | None = None

    def routes(self) -> tuple[Route, ...]:
        """The routes of this file."""
        summary = "Counters, histograms and gauges for Prometheus"
        return tuple(
            Route(("GET",), path, Action.SEE_METRICS, self.metrics, OLLAMA, summary=summary)
            for path in ("/metrics", "/api/metrics")
        )

    async def metrics(self, call: Call) -> Response:
        """Everything, in the form that is asked for."""
        everything = _Everything(self._counters, await self._snapshot())
        encode, media_type = choose_encoder(call.request.headers.get("accept", ""))
        return Response(encode(everything), media_type=media_type)

    async def _snapshot(self) -> Snapshot:
        async with self._looking:
            if self._last is None or time.monotonic() - self._last[0] > _FRESH_S:
                snapshot = await self._look()
                self._last = time.monotonic(), snapshot
            return self._last[1]

    async def _look(self) -> Snapshot:
        running = self._backend.running()
        held, gpus = await asyncio.gather(self._backend.held_tokens(), asyncio.to_thread(nvidia.in_use))
        pids = [each.pid for each in running if each.pid is not None]
        free, total = machine.memory_bytes()
        return Snapshot(
            version=__version__,
            num_open=self._activity.num_open,
            running=running,
            held_tokens=held,
            cpu_s={pid: took for pid in pids if (took := processes.cpu_seconds(pid)) is not None},
            free_bytes=free,
            total_bytes=total,
            gpus=gpus,
        )


class _Everything:
    """What has been counted, and what is so now: what prometheus_client calls a registry."""

    def __init__(self, counters: Counters, now: Snapshot) -> None:
        self._counters = counters
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._counters.registry.collect()
        yield from families(self._now)
