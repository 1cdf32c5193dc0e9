"""A card: what the catalog tells of one model, which has several names and comes in several variants. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from hutch.core.names import DEFAULT_TAG, ModelName

FORMATS = ("gguf", "onnx")
TYPES = ("instruct", "base", "reasoning", "code", "embedding")
SIZES = ("small", "medium", "large")
_SMALL, _MEDIUM = 4_000_000_000, 15_000_000_000  # parameters, at most
# What a worker takes that the settings' defaults launch: four contexts of 4096 tokens, and work buffers.
NUM_CTX = 4096
NUM_PARALLEL = 4
OVERHEAD_BYTES = 192 << 20


@dataclass(frozen=True, slots=True)
class Variant:
    """One form in which a model can be had: from `source`, a name, or what `entry` of the catalog pins.

    `checked` says how far source and size are known: `pulled`, `listing` (read, not fetched), or `no`.
    """

    tag: str
    format: str
    quantization: str
    devices: tuple[str, ...]
    size_bytes: int
    checked: str = "no"
    source: str = ""
    folder: str = ""
    entry: ModelName | None = None

    @property
    def is_pinned(self) -> bool:
        """Whether a digest says which bytes it is; its size is then exact."""
        return self.entry is not None


@dataclass(frozen=True, slots=True)
class Card:
    """A model. The first of `names` is its own, the others are aliases; the first variant is the usual one."""

    names: tuple[ModelName, ...]
    publisher: str
    title: str
    type: str
    num_parameters: int
    context_length: int
    license: str
    capabilities: tuple[str, ...]
    kv_bytes_per_token: int  # of a context in f16
    variants: tuple[Variant, ...]
    origin: str = ""  # the file or address that it stands in; "" is Hutch's own

    @property
    def size(self) -> str:
        """One of SIZES, by the number of parameters."""
        if self.num_parameters <= _SMALL:
            return "small"
        return "medium" if self.num_parameters <= _MEDIUM else "large"

    def selected(self, name: ModelName) -> tuple[Variant, ...]:
        """The variants that a name can mean: all by a name of the card, some by one with a tag or a format; else none."""
        for known in self.names:
            selector = selector_of(name, known)
            if selector == "":
                return self.variants
            if selector and (found := self._by(selector)):
                return found
        return ()

    def is_begun_by(self, name: ModelName) -> bool:
        """Whether a name begins as this card's, whatever variant follows."""
        return any(selector_of(name, known) is not None for known in self.names)

    def names_of(self, variant: Variant) -> Iterator[ModelName]:
        """Every name of one variant."""
        for known in self.names:
            is_bare = known.tag == DEFAULT_TAG
            yield known._replace(tag=variant.tag if is_bare else f"{known.tag}-{variant.tag}")

    def need_bytes(self, variant: Variant) -> int:
        """What a worker of it holds in memory, about, with the settings' defaults."""
        num_tokens = min(NUM_CTX, self.context_length) * NUM_PARALLEL
        wide = 2 if variant.format == "onnx" else 1  # int4 graphs for the CPU keep their contexts in f32
        return OVERHEAD_BYTES + variant.size_bytes + wide * self.kv_bytes_per_token * num_tokens

    def _by(self, selector: str) -> tuple[Variant, ...]:
        if selector in FORMATS:
            return tuple(each for each in self.variants if each.format == selector)
        wanted = "f16" if selector == "fp16" else selector  # Ollama's tags say fp16, GGUF says F16
        return tuple(each for each in self.variants if each.tag == wanted)


def selector_of(name: ModelName, known: ModelName) -> str | None:
    """What of a name's tag says the variant: "" where it is the known name itself, None where it is another model's."""
    if any(a.lower() != b.lower() for a, b in zip(name[:3], known[:3], strict=True)):
        return None
    tag, base = name.tag.lower(), known.tag.lower()
    if tag == base:
        return ""
    if base == DEFAULT_TAG:
        return tag
    return tag.removeprefix(f"{base}-") if tag.startswith(f"{base}-") else None
