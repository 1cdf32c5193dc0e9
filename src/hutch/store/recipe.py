"""What a created model is made of: a base, and what is said over it."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from hutch.core.errors import BadInput, FormatError, NotFound
from hutch.core.models import Progress
from hutch.core.names import ModelName, parse_digest
from hutch.core.versions import check_requires
from hutch.formats import gguf, gguf_model
from hutch.formats.ggml_types import known_file_type
from hutch.prompt import builtins, template
from hutch.store import config, documents, manifests, model
from hutch.store.blobs import Blobs
from hutch.store.manifests import CONFIG_TYPE, LAYER_TYPE, Layer, Manifest

Files = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to create a model. None means: as the base has it; an empty text takes the base's away.

    Parameters go over the base's one by one, messages, projectors, adapters and drafts replace the base's, licenses
    come after them, and so do documents, but for those of the same name. Files are names with the digests of blobs
    that are in the store.
    """

    from_model: ModelName | None = None
    files: Files = ()  # the model, a projector beside it, or an ONNX folder; beside a base, a projector alone
    adapters: Files = ()
    drafts: Files = ()
    documents: Files = ()
    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    messages: tuple[Mapping[str, str], ...] = ()
    licenses: tuple[str, ...] = ()
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    info: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))  # what a listing is to tell
    quantize: str = ""  # the number format that the weights are to have
    draft_quantize: str = ""  # and the draft's


@dataclass(slots=True)
class Draft:
    """A model being put together: its layers so far, and what its config will say."""

    layers: list[Layer]
    said: dict[str, Any]
    created: set[str] = field(default_factory=set)  # blobs to sweep where no name needs them in the end
    written: set[str] = field(default_factory=set)  # those that were not there before


def check(recipe: Recipe) -> None:
    """Raise BadInput for what can be seen without the store."""
    if recipe.from_model is None and not recipe.files:
        raise BadInput("neither 'from' or 'files' was specified", hint="Name a base model or a GGUF file.")
    _check_files(recipe)
    for kind in ("renderer", "parser"):
        builtins.check(kind, getattr(recipe, kind) or "")
    if recipe.requires:
        check_requires(recipe.requires)
    config.check_info(recipe.info)
    if recipe.template:
        template.parse(recipe.template)
    for type_name in filter(None, (recipe.quantize, recipe.draft_quantize)):
        known_file_type(type_name)
    for message in recipe.messages:
        if message.get("role") not in ("system", "user", "assistant"):
            raise BadInput('message role must be one of "system", "user", or "assistant"')


def _check_files(recipe: Recipe) -> None:
    for name, _ in (*recipe.files, *recipe.adapters, *recipe.drafts):
        place = PurePosixPath(name)
        if not name or place.is_absolute() or ".." in place.parts or "\\" in name:
            raise BadInput(
                "file path must be relative", hint="Name files as they are named in the model's folder."
            )
    for kind, files in (("adapter", recipe.adapters), ("draft", recipe.drafts)):
        names = {PurePosixPath(name).name.lower() for name, _ in files}
        is_folder = any(name.endswith(".safetensors") for name in names) and len(names) == len(files)
        is_split = kind == "draft" and all("-of-" in name for name in names)
        if len(files) > 1 and not is_folder and not is_split:
            raise BadInput(f"only one {kind} is currently supported", hint="Leave the others out.")
    for name, _ in recipe.documents:
        documents.check_name(name)


def check_blobs(recipe: Recipe, blobs: Blobs) -> None:
    """Raise NotFound for a file whose blob is not in the store."""
    for name, text in (*recipe.files, *recipe.adapters, *recipe.drafts, *recipe.documents):
        digest = parse_digest(text)
        if blobs.size_bytes(digest) is None:
            raise NotFound(f'blob "{digest}" not found', hint=f"Send the bytes of {name[:80]!a} first.")


def from_base(draft: Draft, blobs: Blobs, base: ModelName, manifest: Manifest) -> None:
    """Begin with another model's layers."""
    draft.layers = [layer._replace(origin=base.short) for layer in manifest.layers]
    draft.said = config.read(blobs.root, manifest)


def from_files(draft: Draft, blobs: Blobs, files: Files) -> None:
    """Take GGUF blobs in. Raises FormatError, or BadInput where that does not make just one model."""
    layers = [gguf_layer(draft, blobs, *_blob(blobs, file, text)) for file, text in files]
    new = {layer.kind for layer in layers} - {"model"}
    draft.layers = [layer for layer in draft.layers if layer.kind not in new] + layers
    if sum(layer.kind == "model" for layer in draft.layers) != 1:
        raise BadInput("a model is made of one GGUF file of weights", hint="Give one, beside its projector.")


def beside(draft: Draft, blobs: Blobs, kind: str, files: Files) -> None:
    """Put an adapter or a draft beside the model, in place of the base's. Raises BadInput where a file is another thing."""
    wanted = "model" if kind == "draft" else kind
    layers = []
    for file, text in files:
        digest, size_bytes = _blob(blobs, file, text)
        found = _kind(_header(blobs, digest))
        if found != wanted:
            raise BadInput(
                f"{kind} {file}: is a GGUF file of kind {found}",
                hint=f"{kind.upper()} takes one of kind {wanted}.",
            )
        layers.append(Layer(LAYER_TYPE + kind, digest, size_bytes))
    if layers:
        draft.layers = [layer for layer in draft.layers if layer.kind != kind] + layers


def gguf_layer(draft: Draft, blobs: Blobs, digest: str, size_bytes: int) -> Layer:
    """A layer for a GGUF blob, once its bytes have been found to be what they claim."""
    header = _header(blobs, digest)
    kind = _kind(header)
    if kind == "model":
        gguf_model.check_has_tokenizer(header.metadata)
        draft.said |= {
            "model_format": "gguf",
            "model_family": header.architecture,
            "model_families": [header.architecture],
            "model_type": header.parameter_size,
            "file_type": header.file_type,
        }
    return Layer(LAYER_TYPE + kind, digest, size_bytes)


def _header(blobs: Blobs, digest: str) -> gguf.GGUF:
    header = gguf.read(blobs.path(digest))
    if gguf.split_count(header) > 1:
        raise BadInput(
            f"this GGUF file is one of the {gguf.split_count(header)} of a model",
            hint="Create the model with all of them, under their own names (-00001-of-…).",
        )
    return header


def _kind(header: gguf.GGUF) -> str:
    if header.architecture == "clip":
        return "projector"
    return "adapter" if header.metadata.get("general.type") == "adapter" else "model"


def _blob(blobs: Blobs, file: str, text: str) -> tuple[str, int]:
    """A blob's digest and size. Raises BadInput where the store does not have it."""
    digest = parse_digest(text)
    size_bytes = blobs.size_bytes(digest)
    if size_bytes is None:
        raise BadInput(f"{file}: no blob {digest} in the store", hint="Send the file's bytes first.")
    return digest, size_bytes


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
    for name, digest in recipe.documents:
        data = yield from documents.text_of(blobs, name, parse_digest(digest))
        draft.layers = [
            each for each in draft.layers if (each.kind, each.name) != (documents.DOCUMENT_TYPE, name)
        ]
        yield from _append(draft, blobs, documents.DOCUMENT_TYPE, data, name)
    documents.check_size(tuple(each for each in draft.layers if each.kind == documents.DOCUMENT_TYPE))
    yield from _configured(draft, recipe)


def _configured(draft: Draft, recipe: Recipe) -> Generator[Progress, None, None]:
    """Put into the config what it has to tell."""
    draft.said |= config.from_info(recipe.info)
    for name in ("renderer", "parser", "requires"):
        value = getattr(recipe, name)
        if value:
            draft.said[name] = value
            if name != "requires":
                yield Progress(builtins.warning(name, value))
        elif value is not None:
            draft.said.pop(name, None)


def told(draft: Draft, layer: Layer) -> Progress:
    """What is said of a layer, in Ollama's words."""
    return Progress(
        f"{'creating new' if layer.digest in draft.written else 'using existing'} layer {layer.digest}"
    )


def finish(draft: Draft, blobs: Blobs) -> bytes:
    """Write the config blob, and return the manifest's bytes. Raises FormatError where a layer is missing."""
    kinds = {layer.kind for layer in draft.layers}
    if manifests.ONNX_TYPE in kinds and (gguf_kinds := kinds & {"model", "projector", "adapter", "draft"}):
        raise BadInput(
            f"an ONNX model takes no {min(gguf_kinds)} in GGUF format",
            hint="Leave it out, or begin with a GGUF model.",
        )
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


def _append(
    draft: Draft, blobs: Blobs, kind: str, data: bytes, name: str = ""
) -> Generator[Progress, None, None]:
    media_type = kind if kind == documents.DOCUMENT_TYPE else LAYER_TYPE + kind
    layer = _add(draft, blobs, data)._replace(media_type=media_type, name=name)
    yield told(draft, layer)
    if layer not in (each._replace(origin="") for each in draft.layers):
        draft.layers.append(layer)


def _add(draft: Draft, blobs: Blobs, data: bytes) -> Layer:
    if len(data) > model.MAX_TEXT_BYTES:
        raise BadInput(f"a layer of text has at most {model.MAX_TEXT_BYTES} bytes")
    added = blobs.add(data)
    if added.created:
        draft.created.add(added.digest)
        draft.written.add(added.digest)
    return Layer("", added.digest, added.size_bytes)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
