"""A variant as files, and how it becomes a model of a store."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hutch.core.models import Model, Progress
from hutch.core.names import ModelName
from hutch.optimize.records import digest as digest_of
from hutch.optimize.source import file_digest
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore

GGUF_NAME = "model.gguf"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant's files by their names in a model's folder. `format` is gguf, onnx, or folder."""

    format: str
    files: Mapping[str, Path]

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return sum(path.stat().st_size for path in self.files.values())


def digest(variant: Variant) -> str:
    """The SHA-256 of a variant's files and their names."""
    return digest_of({name: file_digest(path) for name, path in variant.files.items()})


def in_folder(format_: str, folder: Path) -> Variant:
    """The variant that a folder's files are."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return Variant(format_, {path.relative_to(folder).as_posix(): path for path in paths})


def put(store: ModelStore, name: ModelName, variant: Variant, base: ModelName | None) -> Iterator[Progress]:
    """Give a variant a name in a store; what its base says beside the weights, it says too."""
    sent = []
    for file, path in variant.files.items():
        blob = file_digest(path)
        if not store.has_blob(blob):
            store.import_blob(_chunks(path), blob)
        sent.append((file, blob))
    recipe = Recipe(files=tuple(sent))
    return store.create(name, recipe if base is None else _as_said(recipe, store.open(base)))


def _as_said(recipe: Recipe, base: Model) -> Recipe:
    return replace(
        recipe,
        template=base.template,
        system=base.system,
        parameters=base.parameters,
        messages=base.messages,
        licenses=base.licenses,
        documents=tuple((each.name, each.path.name.replace("-", ":", 1)) for each in base.documents),
        renderer=base.renderer or None,
        parser=base.parser or None,
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk
