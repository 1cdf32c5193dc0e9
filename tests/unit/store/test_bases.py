"""Models over a base that may have to be pulled first, and names that are taken."""

from pathlib import Path

import pytest

from hutch.core.errors import Conflict, SourceFailed
from hutch.store import pull
from hutch.store.bases import create_or_pull
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from hutch.store.wanted import Wanted
from tests.unit.store.things import add_model, digest_of, model_bytes, name, statuses, store_in

OVER_BASE = Recipe(name("base"), system="Be brief.")


def test_an_absent_base_is_pulled_and_success_told_once(tmp_path: Path) -> None:
    data = model_bytes()
    (tmp_path / "base.gguf").write_bytes(data)
    entry = Wanted("path", str(tmp_path / "base.gguf"), digest_of(data), len(data))
    store = store_in(tmp_path / "models", {name("base"): entry})
    told = [each.status for each in create_or_pull(store, name("x"), OVER_BASE)]
    assert (told[0], told.count("success"), told[-1]) == ("pulling manifest", 1, "success")
    assert sorted(each.name.short for each in store.list()) == ["base:latest", "x:latest"]
    assert store.open(name("x")).system == "Be brief."
    assert "pulling manifest" not in statuses(create_or_pull(store, name("y"), OVER_BASE))


def test_a_base_that_is_not_here_is_asked_for_at_its_registry(store: ModelStore) -> None:
    with pytest.raises(SourceFailed, match=r"cannot reach registry\.ollama\.ai"):
        statuses(create_or_pull(store, name("x"), OVER_BASE))


@pytest.mark.parametrize("source", ["https://example.invalid/x.gguf", "pypi:a-package==1.0/x.gguf"])
def test_a_taken_name_is_told_before_anything_is_fetched(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    class _FetchedError(Exception):
        pass

    def into(*_arguments: object, **_named: object) -> None:
        raise _FetchedError

    add_model(store, "x")
    monkeypatch.setattr(pull, "into", into)
    with pytest.raises(_FetchedError):
        statuses(store.pull(name("free"), source))
    with pytest.raises(Conflict, match="model 'x:latest' exists") as caught:
        statuses(store.pull(name("X"), source))
    assert "--replace" in caught.value.hint
    with pytest.raises(_FetchedError):
        statuses(store.pull(name("x"), source, replace=True))
