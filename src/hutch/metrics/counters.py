"""The counters and histograms of one server. Nothing here waits, and nothing a client sends becomes a label."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from hutch.core.chat import Usage
from hutch.core.events import Event, LoadFailed, ModelLoaded, WorkerDied
from hutch.core.names import ModelName

MAX_MODELS = 200  # whoever may create models could make labels without end; those after these share one
OTHER = "other"
_REQUEST_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_S = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)
_LOAD_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Counters:
    """One registry, and what counts into it. To be used from the event loop's thread alone.

    A model is a label once it has been loaded: what a request only names is none.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self._models: dict[str, str] = {}

        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(f"hutch_{name}", told, labels, registry=registry)

        def seconds(name: str, told: str, label: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"hutch_{name}_seconds", told, (label,), registry=registry, buckets=buckets)

        self._requests = counter("http_requests", "Requests that were answered", "method", "route", "status")
        self._errors = counter(
            "http_errors",
            "Requests that were answered with an error, or whose stream ended in one",
            "route",
            "code",
        )
        self._request_s = seconds(
            "http_request", "From a request's head to the last byte of its answer", "route", _REQUEST_S
        )
        self._answers = counter("answers", "Generated answers, by how they ended", "model", "end")
        self._answer_s = seconds(
            "answer",
            "Of generated answers: from the request to the last token, load and queue included",
            "model",
            _REQUEST_S,
        )
        self._first_s = seconds(
            "first_token",
            "From the request to the answer's first token, load and queue included",
            "model",
            _FIRST_S,
        )
        self._next_s = seconds(
            "inter_token",
            "Between two pieces of an answer, each of which is a token or, of odd characters, several",
            "model",
            _TOKEN_S,
        )
        self._tokens_in = counter(
            "prompt_tokens", "Tokens of prompts and texts, cached ones included", "model", "task"
        )
        self._tokens_cached = counter(
            "cached_prompt_tokens", "Tokens of prompts that were in the cache", "model"
        )
        self._tokens_out = counter("generated_tokens", "Tokens that were generated", "model")
        self._load_s = seconds("model_load", "What loading a model took", "model", _LOAD_S)
        self._load_failures = counter("model_load_failures", "Loads of models of the store that failed")
        self._deaths = counter(
            "worker_restarts",
            "Workers that ended by themselves; another one is started each time, up to five in a row",
            "model",
        )

    def answered(self, method: str, route: str, status: int, code: str, took_s: float) -> None:
        """A request has its answer. `route` is a route's template, `code` an error's, both of this program; "" is no error."""
        self._requests.labels(method, route, f"{status // 100}xx").inc()
        self._request_s.labels(route).observe(took_s)
        if code:
            self._errors.labels(route, code).inc()

    def heard(self, event: Event) -> None:
        """Something happened to a loaded model."""
        if isinstance(event, LoadFailed):
            self._load_failures.inc()
            return
        if event.model.lower() not in self._models and len(self._models) < MAX_MODELS:
            self._models[event.model.lower()] = event.model
        label = self.label(event.model)
        if isinstance(event, ModelLoaded):
            self._load_s.labels(label).observe(event.load_s)
        elif isinstance(event, WorkerDied):
            self._deaths.labels(label).inc()

    def label(self, model: ModelName | str) -> str:
        """What a model is called here: its name, if it has been loaded, in the letters that it was loaded by."""
        short = model if isinstance(model, str) else model.short
        return self._models.get(short.lower(), OTHER)

    def first_token(self, label: str, after_s: float) -> Histogram:
        """An answer has begun. Returns what the times between its further tokens go into."""
        self._first_s.labels(label).observe(after_s)
        return self._next_s.labels(label)

    def answer_ended(self, label: str, end: str, took_s: float, usage: Usage) -> None:
        """An answer is whole, or broke off: `end` is its finish reason, `error` or `cancelled`."""
        self._answers.labels(label, end).inc()
        self._answer_s.labels(label).observe(took_s)
        self.read(label, "generate", usage.prompt_tokens)
        self._tokens_cached.labels(label).inc(usage.cached_tokens)
        self._tokens_out.labels(label).inc(usage.completion_tokens)

    def read(self, label: str, task: str, num_tokens: int) -> None:
        """Tokens were read for a task: generate, embed or rerank."""
        self._tokens_in.labels(label, task).inc(num_tokens)
