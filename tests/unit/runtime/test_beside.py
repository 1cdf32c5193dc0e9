"""Files beside the weights: how they are judged, and what they do to a launch."""

from pathlib import Path
from typing import Any

import pytest

from hutch.config import Settings
from hutch.core.chat import LoadOptions
from hutch.core.errors import BadInput, FormatError
from hutch.engines import llama_cpp
from hutch.engines.protocol import LaunchPlan
from hutch.runtime import beside
from hutch.runtime.launch import launch_plan, memory_need_bytes, serves
from tests import beside_files
from tests.gguf_files import tiny_model
from tests.unit.runtime.things import facts, model, onnx_facts, onnx_model

PLACES: dict[str, Any] = {
    "adapters": (Path("/b/lora"),),
    "projectors": (Path("/b/eyes"),),
    "drafts": (Path("/b/small"),),
}


def plan(asked: LoadOptions | None = None, own: dict[str, Any] | None = None, **files: Any) -> LaunchPlan:
    return launch_plan(model(parameters=own or {}, **files), facts(), asked or LoadOptions(), Settings())


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_plan_names_the_files_beside_the_weights() -> None:
    result = plan(**PLACES)
    assert (result.adapters, result.projector, result.draft) == (("/b/lora",), "/b/eyes", "/b/small")
    assert result.draft_num_predict == 4
    assert LaunchPlan.loads(result.dumps()) == result


def test_llama_server_is_told_of_them_by_flags() -> None:
    words = llama_cpp._arguments(plan(**PLACES))
    assert words[words.index("--lora") + 1] == "/b/lora"
    assert words[words.index("--mmproj") + 1] == "/b/eyes"
    assert words[words.index("--spec-draft-model") + 1] == "/b/small"
    assert words[words.index("--spec-draft-n-max") + 1] == "4"
    assert not {"--lora", "--mmproj", "--spec-type"} & set(llama_cpp._arguments(plan()))
    assert "--no-mmproj-offload" not in words
    assert "--no-mmproj-offload" in llama_cpp._arguments(plan(LoadOptions(num_gpu=0), **PLACES))
    assert "--no-mmproj-offload" not in llama_cpp._arguments(plan(LoadOptions(num_gpu=0)))
    comma = llama_cpp._arguments(plan(adapters=(Path("/a,b/lora"),)))
    assert '"/a,b/lora"' in comma  # the flag takes a list


@pytest.mark.parametrize(("asked", "own", "expected"), [(None, 7, 7), (2, 7, 2), (0, 7, 0), (None, None, 4)])
def test_how_far_a_draft_guesses_is_asked_for(asked: int | None, own: int | None, expected: int) -> None:
    said = {} if own is None else {"draft_num_predict": own}
    result = plan(LoadOptions(draft_num_predict=asked), said, **PLACES)
    assert result.draft_num_predict == expected
    assert ("--spec-type" in llama_cpp._arguments(result)) is bool(expected)
    assert serves(result, LoadOptions(draft_num_predict=expected), result)
    assert not serves(result, LoadOptions(draft_num_predict=expected + 1), result)


def test_without_a_draft_model_tokens_are_guessed_where_that_is_asked_for() -> None:
    usual = plan()
    assert (usual.draft_num_predict, "--spec-type" in llama_cpp._arguments(usual)) == (0, False)
    asked = LoadOptions(draft_num_predict=8)
    assert not serves(usual, asked, usual)
    result = plan(asked)
    assert (result.draft, result.draft_num_predict) == ("", 8)
    assert serves(result, asked, usual)
    assert not serves(result, LoadOptions(), usual)
    words = llama_cpp._arguments(result)
    assert words[words.index("--spec-type") + 1].startswith("ngram")


def test_pictures_need_room_in_the_context() -> None:
    assert plan(LoadOptions(num_ctx=300), projectors=PLACES["projectors"]).num_ctx == 2048
    for sees, num_ctx in ((True, 2048), (False, 512)):
        found = launch_plan(onnx_model(), onnx_facts(sees=sees), LoadOptions(num_ctx=300), Settings())
        assert found.num_ctx == num_ctx


def test_the_files_count_in_memory() -> None:
    files = [facts(size_bytes=5, llama__block_count=None), facts(size_bytes=7)]
    alone = memory_need_bytes(plan(), facts())
    cache = memory_need_bytes(plan(), facts(size_bytes=0)) - memory_need_bytes(
        plan(), facts(size_bytes=0, llama__block_count=None)
    )
    assert memory_need_bytes(plan(), facts(), files) == alone + 12 + cache  # the draft has a cache of its own


def test_headers_of_good_files_are_read(tmp_path: Path) -> None:
    small = write(tmp_path, "small.gguf", tiny_model())
    eyes = write(tmp_path, "eyes.gguf", beside_files.projector(8))
    found = beside.read(model(projectors=(eyes,), drafts=(small,)), facts())
    assert [each.architecture for each in found] == ["clip", "llama"]


def test_a_file_in_another_ones_place_is_told(tmp_path: Path) -> None:
    small = write(tmp_path, "small.gguf", tiny_model())
    eyes = write(tmp_path, "eyes.gguf", beside_files.projector(8))
    text = write(tmp_path, "text.gguf", b"GGUF")
    wrong: list[tuple[dict[str, Any], type[BadInput], str]] = [
        ({"adapters": (small,)}, FormatError, "only lora is known"),
        ({"projectors": (small,)}, FormatError, "is a llama file, and a clip file is needed"),
        ({"drafts": (eyes,)}, FormatError, "no model that writes text"),
        ({"drafts": (text,)}, FormatError, "GGUF|file|cut|ends"),
        ({"drafts": (small, small)}, BadInput, "2 files of a draft model"),
        ({"projectors": (eyes, eyes)}, BadInput, "2 files of a projector"),
    ]
    for files, error, complaint in wrong:
        with pytest.raises(error, match=complaint):
            beside.read(model(**files), facts())
