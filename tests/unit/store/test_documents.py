"""Documents of a model: taken in as text, kept under their names, refused where there is no text in them."""

import json
import os
from pathlib import Path

import pytest

from hutch.core.errors import BadInput, FormatError
from hutch.formats import pdf_text
from hutch.store import documents, layout
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests.pdf_files import encrypted, pdf
from tests.unit.store.things import TINY, add_model, digest_of, name, statuses


def attach(store: ModelStore, to: str = "known", **files: bytes) -> list[str]:
    """Make a model of the tiny one with these documents."""
    add_model(store)
    for data in files.values():
        store.import_blob([data], digest_of(data))
    wanted = tuple((f"{key}.txt", digest_of(data)) for key, data in files.items())
    return statuses(store.create(name(to), Recipe(TINY, documents=wanted)))


def told(store: ModelStore, of: str = "known") -> dict[str, str]:
    return {each.name: each.text for each in store.open(name(of)).documents}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"Wear a badge.\n", "Wear a badge.\n"),
        ("Trägt Ausweise 🪪".encode(), "Trägt Ausweise 🪪"),
        ("Ausweise".encode("utf-8-sig"), "Ausweise"),
        ("Ausweise".encode("utf-16"), "Ausweise"),
        (b"\xfe\xff" + "Ausweise".encode("utf-16-be"), "Ausweise"),
        (pdf("Wear a badge."), "Wear a badge."),
        (b"\r\n" + pdf("Wear a badge."), "Wear a badge."),
    ],
)
def test_the_text_of_a_document_is_kept(store: ModelStore, data: bytes, text: str) -> None:
    assert "reading a.txt" in attach(store, a=data)
    assert told(store) == {"a.txt": text}
    assert store.open(name("known")).unsupported_layers == ()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "has no text"),
        (b" \n\t", "has no text"),
        (b"caf\xe9", "the file is not UTF-8: unexpected end of data at byte 3"),
        ("Ausweise".encode("utf-16")[:-1], "the file is not UTF-16-LE: truncated data at byte 14"),
        ("Ausweise".encode("utf-16-le"), "is neither text nor PDF"),
        (pdf(""), "has no text"),
        (encrypted(pdf("Secret.")), "is encrypted"),
        (b"%PDF-1.7\nnothing more", "cannot be read as a PDF"),
        (pdf("Cut short.")[:200], "cannot be read as a PDF"),
        (b"%PDF-1.4\n" + os.urandom(5000), "cannot be read as a PDF"),
        (pdf("Loop.").replace(b"/Kids[3 0 R]", b"/Kids[2 0 R]"), "cannot be read as a PDF"),
    ],
)
def test_what_has_no_text_is_refused_by_name(store: ModelStore, data: bytes, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        attach(store, a=data)
    assert caught.value.message.startswith(f"documents.a.txt: {why}")
    assert [each.name.short for each in store.list()] == ["tiny:latest"]


def test_limits_are_told(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_MAX_TEXT_BYTES", 10)
    with pytest.raises(BadInput, match=r"documents\.a\.txt: has more than 0 MiB of text"):
        attach(store, a=b"x" * 11)
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 10)
    with pytest.raises(BadInput, match=r"documents\.a\.txt: has more than 0 MiB$"):
        attach(store, a=b"x" * 11)
    monkeypatch.setattr(documents, "_MAX_DOCUMENTS", 1)
    with pytest.raises(BadInput, match="documents: more than 1, or more than 16 MiB of text in all"):
        attach(store, a=b"x", b=b"y")


def test_a_reader_that_hangs_is_ended(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_PDF_WITHIN_S", 0.001)
    with pytest.raises(FormatError, match=r"takes more than 0\.001 s to read"):
        attach(store, a=pdf("Slow."))


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "x" * 256, "\x1b[31m", " x", "a AS b"])
def test_a_name_can_be_shown(store: ModelStore, text: str) -> None:
    add_model(store)
    with pytest.raises(BadInput, match="is no name for a document"):
        statuses(store.create(name("x"), Recipe(TINY, documents=((text, digest_of(b"")),))))


def test_documents_go_on_in_models_made_of_it_and_one_of_the_same_name_replaces(store: ModelStore) -> None:
    attach(store, a=b"old", b=b"stays")
    store.import_blob([b"new"], digest_of(b"new"))
    statuses(store.create(name("next"), Recipe(name("known"), documents=(("a.txt", digest_of(b"new")),))))
    assert told(store, "next") == {"b.txt": "stays", "a.txt": "new"}
    assert told(store) == {"a.txt": "old", "b.txt": "stays"}


def test_the_layer_is_of_a_type_of_its_own_with_the_files_name(store: ModelStore) -> None:
    attach(store, a=b"text")
    manifest = json.loads(layout.manifest_path(store.root, name("known")).read_bytes())
    assert manifest["layers"][-1] == {
        "mediaType": "application/vnd.hutch.model.document",
        "digest": digest_of(b"text"),
        "size": 4,
        "name": "a.txt",
    }


def test_a_document_that_was_changed_on_disk_is_not_told(store: ModelStore) -> None:
    attach(store, a=b"text")
    layout.blob_path(store.root, digest_of(b"text")).write_bytes(b"lies")
    with pytest.raises(FormatError, match="is damaged"):
        store.open(name("known"))


def test_control_characters_of_a_pdf_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert pdf_text.text_of(pdf("a\x01b")) == {"text": "ab"}
    monkeypatch.setattr(pdf_text, "_MAX_CHARS", 3)
    assert pdf_text.text_of(pdf("abcd")) == {"problem": "has too much text"}
    monkeypatch.setattr(pdf_text, "_MAX_PAGES", 0)
    assert pdf_text.text_of(pdf("abcd")) == {"problem": "has more than 0 pages"}
