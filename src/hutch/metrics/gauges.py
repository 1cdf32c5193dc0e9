"""What is so at the moment of a scrape: loaded models, their workers, memory and GPUs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hutch.core.backend import Running
from hutch.core.hardware import GpuUse
from hutch.core.names import ModelName


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at everything. `cpu_s`: processor seconds of workers by process id. Bytes of memory that is free, and of all."""

    version: str
    num_open: int
    running: Sequence[Running]
    held_tokens: Mapping[ModelName, int]
    cpu_s: Mapping[int, float]
    free_bytes: int
    total_bytes: int
    gpus: Sequence[GpuUse]


def families(now: Snapshot) -> Iterator[Metric]:
    """The snapshot as Prometheus has it."""
    build = GaugeMetricFamily("hutch_build_info", "The version that runs", labels=("version",))
    build.add_metric((now.version,), 1.0)
    yield build
    yield _plain("http_requests_open", "Requests that are being answered", now.num_open)
    yield _plain(
        "memory_free_bytes", "Memory that this machine, or this container, could still give", now.free_bytes
    )
    yield _plain("memory_total_bytes", "Memory of this machine, or of this container", now.total_bytes)
    yield from _models(now)
    yield from _gpus(now.gpus)


def _models(now: Snapshot) -> Iterator[Metric]:
    info = GaugeMetricFamily("hutch_model_loaded", "Loaded models", labels=("model", "engine"))
    for each in now.running:
        info.add_metric((each.model.name.short, each.engine), 1.0)
    yield info

    def of_each(name: str, told: str, value: Callable[[Running], float | None]) -> Metric:
        family = GaugeMetricFamily(f"hutch_{name}", told, labels=("model",))
        for each in now.running:
            if (number := value(each)) is not None:
                family.add_metric((each.model.name.short,), number)
        return family

    yield of_each("slots", "Requests that a model can answer at once", lambda each: each.num_slots)
    yield of_each("slots_busy", "Requests that it answers now", lambda each: each.busy_slots)
    yield of_each("requests_queued", "Requests that wait for a slot of it", lambda each: each.queued)
    yield of_each(
        "kv_cache_tokens", "Tokens in its key-value cache", lambda each: now.held_tokens.get(each.model.name)
    )
    yield of_each(
        "kv_cache_capacity_tokens",
        "Tokens that all its contexts take together",
        lambda each: each.num_ctx * each.num_slots,
    )
    yield of_each("worker_memory_bytes", "Memory of its worker", lambda each: each.memory_bytes)
    family = CounterMetricFamily(
        "hutch_worker_cpu_seconds", "Processor time of its worker", labels=("model",)
    )
    for each in now.running:
        if (took_s := now.cpu_s.get(each.pid or 0)) is not None:
            family.add_metric((each.model.name.short,), took_s)
    yield family


def _gpus(gpus: Sequence[GpuUse]) -> Iterator[Metric]:
    if not gpus:
        return
    for name, told, values in (
        ("utilization_ratio", "Share of the time in which it computes", [gpu.busy for gpu in gpus]),
        ("memory_used_bytes", "Memory of it that is in use", [gpu.used_bytes for gpu in gpus]),
        ("memory_total_bytes", "Memory of it", [gpu.total_bytes for gpu in gpus]),
    ):
        family = GaugeMetricFamily(f"hutch_gpu_{name}", told, labels=("gpu", "name"))
        for gpu, value in zip(gpus, values, strict=True):
            if value is not None:
                family.add_metric((gpu.number, gpu.name), value)
        yield family


def _plain(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(f"hutch_{name}", told, value=value)
