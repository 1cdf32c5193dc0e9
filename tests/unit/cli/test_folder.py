"""What FROM a folder sends."""

from pathlib import Path

import pytest

from hutch.cli.folder import files_of
from hutch.core.errors import BadInput


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("there", "sent"),
    [
        (["a.gguf", "config.json"], ["a.gguf"]),
        (["model.safetensors", "config.json", "a.gguf", "x.py"], ["config.json", "model.safetensors"]),
        (
            ["model.safetensors", "1_Pooling/config.json", "onnx/model.onnx", "chat_template.jinja"],
            ["1_Pooling/config.json", "chat_template.jinja", "model.safetensors"],
        ),
        (
            ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"],
            ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"],
        ),
    ],
)
def test_the_first_kind_of_weights_counts(tmp_path: Path, there: list[str], sent: list[str]) -> None:
    assert sorted(files_of(made(tmp_path, *there))) == sent


def test_one_of_several_stands_for_all(tmp_path: Path) -> None:
    made(tmp_path, *(f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)), "other.gguf")
    assert len(files_of(tmp_path / "m-00002-of-00003.gguf")) == 3
    assert list(files_of(tmp_path / "other.gguf")) == ["other.gguf"]
    (tmp_path / "m-00003-of-00003.gguf").unlink()
    with pytest.raises(BadInput, match=r"m-00003-of-00003.gguf is not beside it"):
        files_of(tmp_path / "m-00001-of-00003.gguf")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "m", "model.safetensors")
    made(tmp_path, "secret.json")
    (folder / "inside.json").symlink_to("model.safetensors")
    assert "inside.json" in files_of(folder)
    (folder / "config.json").symlink_to("../secret.json")
    with pytest.raises(BadInput, match=r"insecure path: config.json"):
        files_of(folder)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no \*\.safetensors") as refused:
        files_of(made(tmp_path, "pytorch_model.bin", "config.json"))
    assert "pickles" in refused.value.hint
