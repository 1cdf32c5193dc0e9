"""The store of this machine, for commands that find no server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hutch import places
from hutch.api import ollama_show
from hutch.cli import stored
from hutch.cli.client import blocks
from hutch.core.errors import BadInput
from hutch.core.names import ModelName, Reference
from hutch.core.reports import progress_json
from hutch.store import kept
from hutch.store.bases import create_or_pull
from hutch.store.local import local_store
from hutch.store.recipe import Recipe
from hutch.store.sweep import Leftover


def tags() -> dict[str, Any]:
    """What `/api/tags` would tell, all of it."""
    return ollama_show.table(stored.models(), ollama_show.Abilities(local_store()))


def show(name: str, *, verbose: bool) -> dict[str, Any]:
    """What `/api/show` would tell."""
    return ollama_show.description(local_store().open(ModelName.parse(name)), verbose=verbose)


def copy(source: str, destination: str) -> None:
    """Let a second name stand for a model."""
    local_store().copy(ModelName.parse(source), ModelName.parse(destination))


def delete(name: str) -> None:
    """Remove a name, and what no other name needs."""
    local_store().delete(ModelName.parse(name))


def pull(name: str | None, source: str | None, *, replace: bool, insecure: bool) -> Iterator[dict[str, Any]]:
    """Fetch a model; reports are as the API's."""
    parsed, digest = (None, None) if name is None else Reference.parse_address(name, insecure=insecure)
    steps = local_store().pull(parsed, source, replace=replace, insecure=insecure, digest=digest)
    return map(progress_json, steps)


def push(name: str, *, insecure: bool) -> Iterator[dict[str, Any]]:
    """Send a model to the registry that its name says; reports are as the API's."""
    name_there, digest = Reference.parse_address(name, insecure=insecure)
    if digest is not None:
        raise BadInput("a model is pushed by its name", hint="Leave the digest out.", param="model")
    return map(progress_json, local_store().push(name_there, insecure=insecure))


def import_file(digest: str, file: Path, tell: Callable[[int], None]) -> None:
    """Take a file in as a blob."""
    store = local_store()
    if not store.has_blob(digest):
        store.import_blob(blocks(file, tell), digest)


def create(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Make a model as `/api/create` does; a base that is absent is pulled first."""
    recipe = Recipe(
        from_model=ModelName.parse(body["from"]) if "from" in body else None,
        files=tuple(body.get("files", {}).items()),
        adapters=tuple(body.get("adapters", {}).items()),
        drafts=tuple(body.get("draft_files", {}).items()),
        documents=tuple(body.get("documents", {}).items()),
        template=body.get("template"),
        system=body.get("system"),
        parameters=body.get("parameters", {}),
        messages=tuple(body.get("messages", ())),
        licenses=tuple(body.get("license", ())),
        renderer=body.get("renderer"),
        parser=body.get("parser"),
        requires=body.get("requires"),
        quantize=body.get("quantize", ""),
        draft_quantize=body.get("draft_quantize", ""),
    )
    return map(progress_json, create_or_pull(local_store(), ModelName.parse(body["model"]), recipe))


def prune_plan() -> Sequence[Leftover]:
    """What `prune` would remove: of the model folder, and states of models that are not in it."""
    return (*local_store().prune_plan(), *kept.leftovers(places.kept_states(), places.models()))


def prune(listed: Sequence[Leftover]) -> Sequence[Leftover]:
    """Remove what was listed and still no model needs."""
    gone = local_store().prune(listed)
    return (*gone, *kept.prune(places.kept_states(), places.models(), listed))
