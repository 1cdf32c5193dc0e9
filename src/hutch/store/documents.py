"""Documents that a model knows: text files and PDFs, kept in the store as the text that is in them.

Kept as text so that what a model knows depends on no reader of PDFs, and so that `show --modelfile` leads back to it.
"""

import json
import subprocess
import sys
from collections.abc import Generator

from hutch import places
from hutch.core.errors import BadInput, FormatError
from hutch.core.models import Document, Progress
from hutch.formats import text
from hutch.store.blobs import Blobs
from hutch.store.manifests import Layer, Manifest

DOCUMENT_TYPE = "application/vnd.hutch.model.document"  # a type of layer that Ollama passes over
MAX_FILE_BYTES = 64 << 20
_MAX_TEXT_BYTES = 4 << 20
_MAX_ALL_BYTES = 16 << 20
_MAX_DOCUMENTS = 64
_MAX_NAME_CHARS = 255
_PDF_MARK, _PDF_MARK_WITHIN = b"%PDF-", 1024
_PDF_WITHIN_S = 60.0


def read(blobs: Blobs, manifest: Manifest) -> tuple[Document, ...]:
    """The documents of a model. Raises FormatError."""
    layers = manifest.of_kind(DOCUMENT_TYPE)
    check_size(layers)
    return tuple(
        Document(
            layer.name,
            blobs.path(layer.digest),
            text.decode(blobs.read(layer.digest, _MAX_TEXT_BYTES), f"the document {layer.name}"),
        )
        for layer in layers
    )


def check_name(name: str) -> None:
    """Raise BadInput for a name that could not be shown beside a passage, or written after FILE."""
    is_plain = name == name.strip() and name.isprintable() and " AS " not in name
    if not is_plain or not 0 < len(name) <= _MAX_NAME_CHARS:
        raise BadInput(
            f"documents: {name[:64]!a} is no name for a document",
            hint=f"A name has 1 to {_MAX_NAME_CHARS} characters that can be printed, and no AS in it.",
            param="documents",
        )


def check_size(layers: tuple[Layer, ...]) -> None:
    """Raise BadInput where a model has more documents than can be searched at once."""
    if len(layers) > _MAX_DOCUMENTS or sum(layer.size_bytes for layer in layers) > _MAX_ALL_BYTES:
        raise BadInput(
            f"documents: more than {_MAX_DOCUMENTS}, or more than {_MAX_ALL_BYTES >> 20} MiB of text in all",
            hint="Attach fewer documents to one model.",
            param="documents",
        )


def text_of(blobs: Blobs, name: str, digest: str) -> Generator[Progress, None, bytes]:
    """The text of an uploaded document, as UTF-8. Raises BadInput that names the document."""
    where = f"documents.{name}"
    size_bytes = blobs.size_bytes(digest)
    if size_bytes is None:
        raise BadInput(f"{where}: no blob {digest} in the store", hint="Send the file's bytes first.")
    if size_bytes > MAX_FILE_BYTES:
        raise BadInput(f"{where}: has more than {MAX_FILE_BYTES >> 20} MiB", hint="Split it.")
    yield Progress(f"reading {name}")
    data = blobs.read(digest, MAX_FILE_BYTES)
    is_pdf = _PDF_MARK in data[:_PDF_MARK_WITHIN]
    found = _text_of_pdf(data, where) if is_pdf else text.decode(data, f"{where}: the file")
    if "\0" in found:
        raise FormatError(f"{where}: is neither text nor PDF", hint="Convert it to text first.")
    if not found.strip():
        hint = "Pages that were scanned are pictures: have them read (OCR) first." if is_pdf else ""
        raise BadInput(f"{where}: has no text", hint=hint)
    encoded = found.encode()
    if len(encoded) > _MAX_TEXT_BYTES:
        raise BadInput(f"{where}: has more than {_MAX_TEXT_BYTES >> 20} MiB of text", hint="Split it.")
    return encoded


def _text_of_pdf(data: bytes, where: str) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hutch.formats.pdf_text"],
            env=places.worker_environment(),
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PDF_WITHIN_S,
            check=True,
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        told = {"problem": f"takes more than {_PDF_WITHIN_S:g} s to read"}
    except (subprocess.CalledProcessError, ValueError):
        told = {"problem": "cannot be read as a PDF"}
    if "text" not in told:
        raise FormatError(f"{where}: {told['problem']}", hint="Save it anew without a password, or as text.")
    return str(told["text"])
