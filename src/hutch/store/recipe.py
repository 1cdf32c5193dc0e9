"""What a created model is made of: a base, and what is said over it."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from hutch.core.errors import BadInput, FormatError, NotBuilt
from hutch.core.models import Progress
from hutch.core.names import ModelName, parse_digest
from hutch.formats import gguf
from hutch.formats.ggml_types import known_file_type
from hutch.prompt import template
from hutch.store import config, manifests, model
from hutch.store.blobs import Blobs
from hutch.store.manifests import CONFIG_TYPE, LAYER_TYPE, Layer, Manifest


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to create a model. None means: as the base has it; an empty text takes the base's away.

    Parameters go over the base's one by one, messages replace the base's, licenses come after them.
    """

    from_model: ModelName | None = None
    files: tuple[tuple[str, str], ...] = ()  # file names, and the digests of blobs that are in the store
    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    messages: tuple[Mapping[str, str], ...] = ()
    licenses: tuple[str, ...] = ()
    quantize: str = ""  # the number format that the weights are to have


@dataclass(slots=True)
class Draft:
    """A model being put together: its layers so far, and what its config will say."""

    layers: list[Layer]
    said: dict[str, Any]
    created: set[str] = field(default_factory=set)  # blobs to sweep where no name needs them in the end


def check(recipe: Recipe) -> None:
    """Raise BadInput for what can be seen without the store."""
    if recipe.from_model is None and not recipe.files:
        raise BadInput("neither 'from' or 'files' was specified", hint="Name a base model or a GGUF file.")
    if recipe.from_model is not None and recipe.files:
        raise NotBuilt("'from' together with 'files' is not built", hint="Give one of them.")
    if recipe.template:
        template.parse(recipe.template)
    for name, _ in recipe.files:
        place = PurePosixPath(name)
        if not name or place.is_absolute() or ".." in place.parts or "\\" in name:
            raise BadInput(
                "file path must be relative", hint="Name files as they are named in the model's folder."
            )
    if recipe.quantize:
        known_file_type(recipe.quantize)
    for message in recipe.messages:
        if message.get("role") not in ("system", "user", "assistant"):
            raise BadInput('message role must be one of "system", "user", or "assistant"')


def from_base(draft: Draft, blobs: Blobs, base: ModelName, manifest: Manifest) -> None:
    """Begin with another model's layers."""
    draft.layers = [layer._replace(origin=base.short) for layer in manifest.layers]
    draft.said = config.read(blobs.root, manifest)


def from_files(draft: Draft, blobs: Blobs, files: tuple[tuple[str, str], ...]) -> None:
    """Begin with GGUF blobs. Raises FormatError, or BadInput where there is not just one model among them."""
    for file, text in files:
        digest = parse_digest(text)
        size_bytes = blobs.size_bytes(digest)
        if size_bytes is None:
            raise BadInput(f"{file}: no blob {digest} in the store", hint="Send the file's bytes first.")
        draft.layers.append(gguf_layer(draft, blobs, digest, size_bytes))
    if sum(layer.kind == "model" for layer in draft.layers) != 1:
        raise BadInput("a model is made of one GGUF file of weights", hint="Give one, beside its projector.")


def gguf_layer(draft: Draft, blobs: Blobs, digest: str, size_bytes: int) -> Layer:
    """A layer for a GGUF blob, once its bytes have been found to be what they claim."""
    header = gguf.read(blobs.path(digest))
    if header.split_count > 1:
        raise BadInput(
            f"this GGUF file is one of the {header.split_count} of a model",
            hint="Create the model with all of them, under their own names (-00001-of-…).",
        )
    kind = "model"
    if header.architecture == "clip":
        kind = "projector"
    elif header.metadata.get("general.type") == "adapter":
        kind = "adapter"
    else:
        draft.said |= {
            "model_format": "gguf",
            "model_family": header.architecture,
            "model_families": [header.architecture],
            "model_type": header.parameter_size,
            "file_type": header.file_type,
        }
    return Layer(LAYER_TYPE + kind, digest, size_bytes)


def said_over(draft: Draft, recipe: Recipe, blobs: Blobs) -> Generator[Progress, None, None]:
    """Put what the recipe says over the base."""
    for kind, text in (("template", recipe.template), ("system", recipe.system)):
        if text is not None:
            yield from _replace(draft, blobs, kind, text.encode())
    for text in recipe.licenses:
        yield from _append(draft, blobs, "license", text.encode())
    if recipe.parameters:
        base = Manifest("", _NO_CONFIG, tuple(draft.layers))
        merged = {**model.parameters(blobs, base), **recipe.parameters}
        yield from _replace(draft, blobs, "params", _json(merged))
    if recipe.messages:
        plain = [{"role": each["role"], "content": each["content"]} for each in recipe.messages]
        yield from _replace(draft, blobs, "messages", _json(plain))


def finish(draft: Draft, blobs: Blobs) -> bytes:
    """Write the config blob, and return the manifest's bytes. Raises FormatError where a layer is missing."""
    for layer in draft.layers:
        if blobs.size_bytes(layer.digest) != layer.size_bytes:
            raise FormatError(f"{blobs.path(layer.digest)} is missing or has another size")
    data = config.render(draft.said, tuple(layer.digest for layer in draft.layers))
    added = _add(draft, blobs, data)
    return manifests.render(Layer(CONFIG_TYPE, added.digest, added.size_bytes), tuple(draft.layers))


_NO_CONFIG = Layer(CONFIG_TYPE, "", 0)


def _replace(draft: Draft, blobs: Blobs, kind: str, data: bytes) -> Generator[Progress, None, None]:
    draft.layers = [layer for layer in draft.layers if layer.kind != kind]
    if data:
        yield from _append(draft, blobs, kind, data)


def _append(draft: Draft, blobs: Blobs, kind: str, data: bytes) -> Generator[Progress, None, None]:
    layer = _add(draft, blobs, data)._replace(media_type=LAYER_TYPE + kind)
    word = "creating new" if layer.digest in draft.created else "using existing"
    yield Progress(f"{word} layer {layer.digest}")
    if layer not in draft.layers:
        draft.layers.append(layer)


def _add(draft: Draft, blobs: Blobs, data: bytes) -> Layer:
    if len(data) > model.MAX_TEXT_BYTES:
        raise BadInput(f"a layer of text has at most {model.MAX_TEXT_BYTES} bytes")
    added = blobs.add(data)
    if added.created:
        draft.created.add(added.digest)
    return Layer("", added.digest, added.size_bytes)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
