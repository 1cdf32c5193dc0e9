"""`hutch create`: makes a model from a Modelfile."""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hutch import places
from hutch.cli import client, http, progress, side
from hutch.cli import folder as folders
from hutch.cli.progress import Tell
from hutch.core.errors import BadInput
from hutch.formats import modelfile
from hutch.formats.modelfile import Modelfile
from hutch.prompt import template
from hutch.store.documents import MAX_FILE_BYTES

Files = dict[str, dict[str, Path]]  # by the field of `/api/create`, then by name
_LONGEST_BYTES = 64 << 20
_READ_BYTES = 1 << 20


def create(args: argparse.Namespace) -> None:
    """`hutch create MODEL -f Modelfile`."""
    path = Path(args.file).expanduser() if args.file else _default()
    said = read(path)
    for name in said.deprecated:
        print(f"warning: parameter {name} is deprecated", file=sys.stderr)
    if said.template:  # moved down, so that the template's lines are those of the Modelfile
        template.parse("\n" * (said.lines["template"] - 1) + said.template)
    model, files = resolved(said, path.absolute().parent)
    is_remote = side.is_answering()
    if not is_remote and not side.is_here():
        raise http.unreachable(places.server_address())
    if is_remote:
        side.note_settings()
    deliver = client.upload if is_remote else partial(side.here, "hutch.cli.local:import_file")
    with progress.shown() as tell:
        sent = {
            field: {name: _send(file, tell, deliver) for name, file in named.items()}
            for field, named in files.items()
        }
        wanted = body(args.model, said, model, sent)
        if args.quantize:
            wanted["quantize"] = args.quantize
        if args.draft_quantize:
            wanted["draft_quantize"] = args.draft_quantize
        stream = client.HttpServer().stream if is_remote else _here
        try:
            for report in stream("/api/create", wanted):
                tell(report)
        except BadInput as error:
            raise placed(error, said.lines) from error


def _default() -> Path:
    """The Modelfile of this folder, in whichever case it is written."""
    upper, lower = Path("Modelfile"), Path("modelfile")
    return lower if lower.exists() and not upper.exists() else upper


def _here(_path: str, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    reports: Iterator[dict[str, Any]] = side.here("hutch.cli.local:create", wanted)
    return reports


def read(path: Path) -> Modelfile:
    """Read the Modelfile at a path. Raises BadInput that names it where it is missing."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"the Modelfile {path} cannot be read: {error.strerror}", hint="Name another with -f."
        ) from error
    if len(data) > _LONGEST_BYTES:
        raise BadInput(f"{path} is no Modelfile: it has more than {_LONGEST_BYTES >> 20} MiB")
    return modelfile.parse(data)


def resolved(said: Modelfile, folder: Path) -> tuple[str | None, Files]:
    """What FROM names where that is a model, and every file that the Modelfile means (relative to it)."""
    models: list[str] = []
    weights: list[tuple[str, Path]] = []
    for source in said.sources:
        path = _path(folder, source)
        if path.is_file() or (path.is_dir() and _is_path(source)):
            weights += folders.files_of(path).items()
        elif _is_path(source):
            raise _no_file(f"FROM {source}", source, path)
        else:
            models.append(source)
    if len(models) > 1:
        raise BadInput(
            f"FROM {models[1]}: a model has one base", hint="Leave one of them, or name a projector's file."
        )
    beside = {"adapters": ("adapter", said.adapter), "draft_files": ("draft", said.draft)}
    files: Files = {"files": _named(weights)}
    for field, (keyword, text) in beside.items():
        if text is not None:
            files[field] = _beside(keyword, said.lines[keyword], text, folder)
    files["documents"] = {
        name: _document(said.lines[f"documents.{name}"], text, folder)
        for name, text in said.documents.items()
    }
    return (models[0] if models else None), files


def body(name: str, said: Modelfile, model: str | None, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The request of `/api/create`. `sent` are its fields of files: names and digests."""
    fields = {
        "from": model,
        **sent,
        "template": said.template,
        "system": said.system,
        "parameters": dict(said.parameters),
        "messages": [dict(message) for message in said.messages],
        "license": list(said.licenses),
        "renderer": said.renderer,
        "parser": said.parser,
        "requires": said.requires,
    }
    silent: tuple[object, ...] = (None, [], {})
    return {"model": name, **{key: value for key, value in fields.items() if value not in silent}}


def placed(error: BadInput, lines: Mapping[str, int]) -> BadInput:
    """An error of `/api/create` with the line of the Modelfile that it is about."""
    for field in sorted(lines, key=len, reverse=True):
        if error.message.startswith(field):
            return type(error)(f"(line {lines[field]}): {error.message}", hint=error.hint)
    return error


def _named(files: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """Files by their names; another one of a name that is taken gets a number before it."""
    named: dict[str, Path] = {}
    for name, path in files:
        named[name if name not in named else f"{len(named)}-{name}"] = path
    return named


def _beside(keyword: str, line: int, text: str, folder: Path) -> dict[str, Path]:
    """The files of an adapter or a draft: one in GGUF, or those of a folder."""
    path = _path(folder, text)
    if path.suffix == ".safetensors" and path.is_file():
        path = path.parent
    if path.is_dir():
        return folders.adapter_of(path) if keyword == "adapter" else folders.files_of(path)
    return {path.name: _needed(keyword, line, text, folder)}


def _path(folder: Path, text: str) -> Path:
    """A path as it is meant. Raises BadInput for what no file can be called."""
    try:
        path = folder / Path(text).expanduser()
        path.exists()  # raises for what is too long
    except (RuntimeError, OSError, ValueError) as error:
        raise BadInput(f"{text[:64]}: {error}", hint="A path is relative to the Modelfile.") from error
    return path


def _needed(keyword: str, line: int, text: str, folder: Path) -> Path:
    path = _path(folder, text)
    said = f"(line {line}): {keyword.upper()} {text}"
    if not path.is_file():
        raise _no_file(said, text, path)
    return path


def _no_file(said: str, text: str, path: Path) -> BadInput:
    if "://" in text:
        return BadInput(f"{said}: an address is no path", hint=f"Fetch it first: hutch pull {text}")
    why = "is no regular file" if path.exists() else "no such file"
    return BadInput(f"{said}: {why}: {path}", hint="A path is relative to the Modelfile.")


def _document(line: int, text: str, folder: Path) -> Path:
    """A document's path. The server looks into it; this spares sending what it cannot take."""
    if _path(folder, text).is_dir():
        raise BadInput(
            f"(line {line}): FILE {text}: is a folder", hint="Attach each file by a line of its own."
        )
    path = _needed("file", line, text, folder)
    size_bytes = path.stat().st_size
    if not 0 < size_bytes <= MAX_FILE_BYTES:
        why = f"has more than {MAX_FILE_BYTES >> 20} MiB" if size_bytes else "is empty"
        raise BadInput(f"(line {line}): FILE {text}: {why}", hint="Attach a text or a PDF.")
    return path


def _is_path(source: str) -> bool:
    return (
        source.startswith(("/", "./", "../", "~"))
        or source.lower().endswith(".gguf")
        or source in (".", "..")
    )


def _send(file: Path, tell: Tell, deliver: Callable[[str, Path, Callable[[int], None]], None]) -> str:
    """Have a file as a blob; the digest."""
    size_bytes = file.stat().st_size
    sha256, read_bytes = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            sha256.update(block)
            read_bytes += len(block)
            tell({"status": f"hashing {file.name}", "total": size_bytes, "completed": read_bytes})
    digest = f"sha256:{sha256.hexdigest()}"

    def sent(sent_bytes: int) -> None:
        tell(
            {"status": f"copying {file.name}", "digest": digest, "total": size_bytes, "completed": sent_bytes}
        )

    deliver(digest, file, sent)
    return digest
