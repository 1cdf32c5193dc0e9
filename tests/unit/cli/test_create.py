"""`hutch create`: what the paths in a Modelfile lead to, and which line an error is about."""

from pathlib import Path

import pytest

from hutch.cli import create
from hutch.core.errors import BadInput, FormatError
from hutch.formats import modelfile
from hutch.store import documents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("w.gguf", "p.gguf", "lora.gguf", "draft.gguf", "a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "w.gguf").write_bytes(b"y")
    return tmp_path


def resolved(text: str, folder: Path) -> tuple[str | None, create.Files]:
    return create.resolved(modelfile.parse(text.encode()), folder)


def test_every_file_has_its_field(folder: Path) -> None:
    model, files = resolved(
        "FROM base\nFROM ./p.gguf\nADAPTER ./lora.gguf\nDRAFT draft.gguf\nFILE a.txt\nFILE ./b.txt AS rules.txt",
        folder,
    )
    assert model == "base"
    assert files == {
        "files": {"p.gguf": folder / "p.gguf"},
        "adapters": {"lora.gguf": folder / "lora.gguf"},
        "draft_files": {"draft.gguf": folder / "draft.gguf"},
        "documents": {"a.txt": folder / "a.txt", "rules.txt": folder / "b.txt"},
    }


def test_files_of_one_name_are_both_sent(folder: Path) -> None:
    _, files = resolved("FROM ./w.gguf\nFROM ./deep/w.gguf", folder)
    assert files["files"] == {"w.gguf": folder / "w.gguf", "1-w.gguf": folder / "deep/w.gguf"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FILE ./nix.txt", r"^\(line 2\): FILE ./nix.txt: no such file: /"),
        ("FILE ./empty.txt", r"^\(line 2\): FILE ./empty.txt: is empty$"),
        ("FILE ./deep", r"^\(line 2\): FILE ./deep: is a folder$"),
        ("FILE ~nosuchuser/x", "^~nosuchuser/x: "),
        ("FILE /dev/null", r"^\(line 2\): FILE /dev/null: is no regular file"),
        (f"FILE {'x' * 5000}", "^xxx.*File name too long"),
        ("ADAPTER ./nix", r"^\(line 2\): ADAPTER ./nix: no such file: /"),
        ("DRAFT nix", r"^\(line 2\): DRAFT nix: no such file: /"),
        ("FROM other", "^FROM other: a model has one base$"),
    ],
)
def test_names_the_line_of_a_path_that_leads_nowhere(folder: Path, line: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        resolved(f"FROM base\n{line}", folder)


def test_a_document_that_is_too_large_is_not_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create, "MAX_FILE_BYTES", 0)
    assert documents.MAX_FILE_BYTES == 64 << 20
    with pytest.raises(BadInput, match=r"^\(line 2\): FILE a.txt: has more than 0 MiB$"):
        resolved("FROM base\nFILE a.txt", folder)


@pytest.mark.parametrize("keyword", ["ADAPTER", "DRAFT"])
def test_a_folder_without_weights_is_refused(folder: Path, keyword: str) -> None:
    (folder / "deep" / "w.gguf").unlink()
    with pytest.raises(BadInput, match=r"deep has no \*.safetensors, "):
        resolved(f"FROM base\n{keyword} ./deep", folder)


def test_a_folder_of_an_adapter_stands_for_its_two_files(folder: Path) -> None:
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md", "tokenizer.json"):
        (folder / "deep" / name).touch()
    for said in ("./deep", "./deep/adapter_model.safetensors"):
        _, files = resolved(f"FROM base\nADAPTER {said}", folder)
        assert set(files["adapters"]) == {"adapter_model.safetensors", "adapter_config.json"}


@pytest.mark.parametrize(
    ("message", "placed"),
    [
        ("documents.a.txt: is encrypted", "(line 4): documents.a.txt: is encrypted"),
        ("documents.a.txt.old: is encrypted", "(line 5): documents.a.txt.old: is encrypted"),
        ("requires version 1 of Ollama's API", "(line 3): requires version 1 of Ollama's API"),
        ("renderer: 'x' is not known", "(line 2): renderer: 'x' is not known"),
        ("something else", "something else"),
    ],
)
def test_an_error_of_the_server_gets_its_line(message: str, placed: str) -> None:
    said = modelfile.parse(b"FROM a\nRENDERER x\nREQUIRES 1\nFILE a.txt\nFILE a.txt.old")
    error = create.placed(FormatError(message, hint="Do this."), said.lines)
    assert (type(error), error.message, error.hint) == (FormatError, placed, "Do this.")


def test_the_modelfile_may_be_written_in_lower_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert create._default() == Path("Modelfile")
    Path("modelfile").touch()
    assert create._default() == Path("modelfile")
    Path("Modelfile").touch()
    assert create._default() == Path("Modelfile")
