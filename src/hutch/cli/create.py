"""`hutch create`: makes a model from a Modelfile."""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hutch import places
from hutch.cli import client, http, progress, side
from hutch.cli import folder as folders
from hutch.cli.progress import Tell
from hutch.core.errors import BadInput, NotBuilt
from hutch.formats import modelfile
from hutch.formats.modelfile import Modelfile

_LONGEST_BYTES = 64 << 20
_READ_BYTES = 1 << 20


def create(args: argparse.Namespace) -> None:
    """`hutch create MODEL -f Modelfile`."""
    path = Path(args.file).expanduser()
    said = read(path)
    for name in said.deprecated:
        print(f"warning: parameter {name} is deprecated", file=sys.stderr)
    model, files = resolved(said, path.absolute().parent)
    is_remote = side.is_answering()
    if not is_remote and not side.is_here():
        raise http.unreachable(places.server_address())
    if is_remote:
        side.note_settings()
    deliver = client.upload if is_remote else partial(side.here, "hutch.cli.local:import_file")
    with progress.shown() as tell:
        sent = {name: _send(file, tell, deliver) for name, file in files.items()}
        wanted = body(args.model, said, model, sent)
        if args.quantize:
            wanted["quantize"] = args.quantize
        stream = client.HttpServer().stream if is_remote else _here
        for report in stream("/api/create", wanted):
            tell(report)


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


def resolved(said: Modelfile, folder: Path) -> tuple[str | None, dict[str, Path]]:
    """What FROM means: a model's name, or files that are there, by name (relative to the Modelfile)."""
    paths = [folder / Path(source).expanduser() for source in said.sources]
    for source, path in zip(said.sources, paths, strict=True):
        if _is_path(source) and not path.exists():
            raise BadInput(
                f"FROM {source}: no such file: {path}", hint="A path is relative to the Modelfile."
            )
    there = [path for path, source in zip(paths, said.sources, strict=True) if _is_there(path, source)]
    if there and len(there) < len(paths):
        raise NotBuilt("FROM a model and FROM a file together are not built yet", hint="Leave one of them.")
    if not there and len(paths) > 1:
        raise NotBuilt("FROM several models is not built yet", hint="Leave one of them.")
    if not there:
        return said.sources[0], {}
    files = [named for path in there for named in folders.files_of(path).items()]
    return None, dict(files)


def body(name: str, said: Modelfile, model: str | None, files: Mapping[str, str]) -> dict[str, Any]:
    """The request of `/api/create`. `files` are names and digests."""
    fields = {
        "from": model,
        "files": files,
        "template": said.template,
        "system": said.system,
        "parameters": dict(said.parameters),
        "messages": [dict(message) for message in said.messages],
        "license": list(said.licenses),
    }
    silent: tuple[object, ...] = (None, [], {})
    return {"model": name, **{key: value for key, value in fields.items() if value not in silent}}


def _is_there(path: Path, source: str) -> bool:
    return path.is_file() or (path.is_dir() and _is_path(source))


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
