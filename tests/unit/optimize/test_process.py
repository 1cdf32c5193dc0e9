"""A step of the job in a process of its own."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import BadInput, EngineFailed, NotBuilt
from hutch.core.models import Progress
from hutch.optimize import job, libraries, process, recipes
from tests import gguf_files


def follow(steps: Generator[Progress, None, Any]) -> tuple[list[Progress], Any]:
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return told, end.value


def test_an_error_of_the_job_comes_out_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_text("{")
    with pytest.raises(BadInput):
        follow(process.run("optimized", tmp_path / "log", source=tmp_path, target=tmp_path / "new"))


def test_a_job_that_dies_tells_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="no_such_step") as caught:
        follow(process.run("no_such_step", tmp_path / "log"))
    assert str(tmp_path / "log") in caught.value.hint


def test_a_job_ends_with_whoever_stops_listening(tmp_path: Path) -> None:
    source = tmp_path / "tiny.gguf"
    source.write_bytes(gguf_files.tiny_model())
    steps = process.run("float_gguf", tmp_path / "log", source=source, target=tmp_path / "new.gguf")
    next(steps)
    steps.close()  # hangs where the process is not ended


@pytest.mark.parametrize("name", libraries.PACKAGES)
def test_a_library_that_is_missing_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "versions", lambda names: {} if names == (name,) else {names[0]: "1"})
    with pytest.raises(NotBuilt, match=f"needs {name},") as caught:
        libraries.check()
    assert caught.value.hint == "pip install 'hutch[optimize]'"


def test_a_module_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(NotBuilt, match="needs hutch_has_no_such_module"):
        libraries.needed("hutch_has_no_such_module")


def test_the_extra_has_just_these_libraries() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    extra = project.partition("\noptimize = [")[2].partition("\n]")[0]
    assert {name for name in libraries.PACKAGES if f'"{name}>=' not in extra} == set()


def test_every_recipe_is_a_step_of_the_job() -> None:

    known = (*recipes.for_weights(recipes.ggml_types(has_binary=True)), *recipes.for_graph(is_float=True))
    assert {each.how for each in known} <= {*job.STEPS, "ggml"}
