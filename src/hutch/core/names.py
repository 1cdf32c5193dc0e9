"""Model names and digests.

A name is `[host/][namespace/]model[:tag]`, as Ollama writes it.
"""

import functools
import re
from typing import NamedTuple

from hutch.core.errors import BadInput

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_NUM_KEPT = 1024  # names, of which every request asks the same few
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


# A NamedTuple and not a dataclass: `hutch list` must start before `import dataclasses` would be done.
class ModelName(NamedTuple):
    """A complete model name. Its four parts are also its path below `manifests/`."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    @functools.lru_cache(_NUM_KEPT)
    def parse(cls, text: str) -> "ModelName":
        """Read a name as a person writes it. Raises BadInput for what is no name."""
        rest = _without_selector(text)
        tag = DEFAULT_TAG
        head, colon, tail = rest.rpartition(":")
        if colon and "/" not in tail:
            rest, tag = head, tail
        parts = rest.split("/")
        if len(parts) > 3:
            raise _invalid(text)
        model = parts[-1]
        namespace = parts[-2] if len(parts) > 1 else DEFAULT_NAMESPACE
        host = parts[-3] if len(parts) > 2 else DEFAULT_HOST
        checks = ((_HOST, host), (_NAMESPACE, namespace), (_PART, model), (_PART, tag))
        if not all(pattern.fullmatch(part) for pattern, part in checks):
            raise _invalid(text)
        return cls(host, namespace, model, tag)

    @property
    def short(self) -> str:
        """The name without the parts that are Ollama's defaults; always with its tag."""
        text = f"{self.model}:{self.tag}"
        if self.namespace != DEFAULT_NAMESPACE or self.host != DEFAULT_HOST:
            text = f"{self.namespace}/{text}"
        if self.host != DEFAULT_HOST:
            text = f"{self.host}/{text}"
        return text

    @property
    def typed(self) -> str:
        """The short name as people type it: without the tag `latest`."""
        return self.short.removesuffix(f":{DEFAULT_TAG}")

    @property
    def folded(self) -> "ModelName":
        """What all spellings of the name have in common: names keep their case and ignore it in comparison."""
        return _folded(self)

    def same_as(self, other: "ModelName") -> bool:
        """Whether both name one model."""
        return all(a.lower() == b.lower() for a, b in zip(self, other, strict=True))


@functools.lru_cache(_NUM_KEPT)
def _folded(name: ModelName) -> ModelName:
    return ModelName(*(part.lower() for part in name))


class Reference(NamedTuple):
    """What to pull: a name, or one content of it, pinned by the SHA-256 of its manifest."""

    name: ModelName
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `name` or `name@sha256:…`. Raises BadInput."""
        name, at, digest = text.partition("@")
        return cls(ModelName.parse(name), parse_digest(digest) if at else None)

    @classmethod
    def parse_address(cls, text: str, *, insecure: bool) -> "Reference":
        """Read a reference that may begin with `https://`, or where `insecure` allows it with `http://`. Raises BadInput."""
        scheme, _, rest = text.rpartition("://")
        if scheme == "http" and not insecure:
            raise BadInput(
                "insecure protocol http",
                hint="Use https, or allow it: `--insecure`, in a request `insecure: true`.",
                param="model",
            )
        return cls.parse(rest if scheme in ("http", "https") else text)

    def __str__(self) -> str:
        """The whole of it, with the parts that are defaults."""
        text = "/".join(self.name[:3]) + f":{self.name.tag}"
        return f"{text}@{self.digest}" if self.digest else text


def _without_selector(text: str) -> str:
    """`model:tag:local` without Ollama's word for a model that is not in its cloud. After a bare model it is a tag."""
    head, _, last = text.rpartition(":")
    return head if last.lower() == "local" and ":" in head.rpartition("/")[2] else text


def _invalid(text: str) -> BadInput:
    shown = text if len(text) <= 100 else text[:100] + "…"
    return BadInput(
        f"invalid model name {shown!r}", hint="A name is [host/][namespace/]model[:tag].", param="model"
    )


def parse_digest(text: str) -> str:
    """Return the canonical `sha256:<64 hex>` of a digest written with `:` or `-`. Raises BadInput."""
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise BadInput("invalid digest format", hint="A digest is sha256: and 64 hexadecimal digits.")
    return f"sha256:{match[1].lower()}"
