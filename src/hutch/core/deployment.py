"""A deployment: one model, on a port of its own, under terms that no request changes. Pure."""

from dataclasses import dataclass

from hutch.core.names import ModelName

DEFAULT_PORT = 8080
DEFAULT_PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is to be served, and how. 0 and () mean: not said, as the server's settings have it. Sizes are in bytes."""

    model: ModelName
    port: int = DEFAULT_PORT
    hardware: tuple[str, ...] = ()  # best first
    quantization: str = "none"  # or dynamic
    batch_size: int = 0  # requests in one step, where nothing else says it
    max_context: int = 0  # tokens
    openai_compatible: bool = True
    batch_processing: bool = True  # False: one request after another
    parallel_requests: int = 0
    enable_kv_cache: bool = True  # False: a request finds nothing of an earlier one's prompt
    max_cache_bytes: int = 0
    enable_dynamic_batching: bool = True  # False: a batch is done before the next one begins
    max_batch_size: int = 0

    @property
    def num_slots(self) -> int:
        """How many requests are answered at once; 0 where nothing is said of it."""
        if not self.batch_processing:
            return 1
        wanted = self.parallel_requests or self.batch_size
        if not self.enable_dynamic_batching and self.batch_size:
            wanted = min(wanted, self.batch_size)
        if self.max_batch_size:
            wanted = min(wanted or DEFAULT_PARALLEL, self.max_batch_size)
        return wanted
