"""`hutch task`: a task of the server's, for a file or for what comes through standard input."""

import argparse
import base64
import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hutch.cli import http, plain
from hutch.core.errors import BadInput

_LARGEST_BYTES = 32 << 20
_ANSWER_S = 1800.0  # a long text, a large model, a slow machine
_LISTS = ("labels", "fields", "columns", "rules", "names")
_ON_PICTURES = ("describe", "ocr", "enhance")
_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_NOT_SENT = ("part", "run", "file", "json", "output", "num_ctx")


def task(args: argparse.Namespace) -> None:
    """Have one done, and print its result, or write it to a file."""
    body = _body(args)
    told = http.ask("POST", f"/api/tasks/{args.part}", body, within_s=_ANSWER_S)
    if args.part == "enhance":
        _keep(Path(args.output), told)
    elif args.json:
        print(json.dumps(told, indent=2))
    else:
        plain.out(_shown(args.part, told))


def _body(args: argparse.Namespace) -> dict[str, Any]:
    """What is sent: the flags that were given, by the API's names, and the file."""
    said = {name: value for name, value in vars(args).items() if name not in _NOT_SENT and value is not None}
    for name in _LISTS:
        if name in said:
            said[name] = [word.strip() for word in said[name].split(",") if word.strip()]
    if "schema" in said:
        said["schema"] = _schema(Path(said["schema"]))
    if getattr(args, "num_ctx", None) is not None:
        said["options"] = {"num_ctx": args.num_ctx}
    if args.part == "enhance":
        said["format"] = _format(Path(args.output))
    data = _read(args.file)
    if args.part in _ON_PICTURES:
        return {"image": base64.b64encode(data).decode(), **said}
    return {"text": _text(args.file, data), **said}


def _read(file: str) -> bytes:
    try:
        if file == "-":
            if sys.stdin.isatty():
                plain.err("reading standard input, up to Ctrl-D")
            data = sys.stdin.buffer.read(_LARGEST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}", hint="Name a file that can be read.") from error
    if len(data) > _LARGEST_BYTES:
        raise BadInput(f"{file}: larger than {_LARGEST_BYTES >> 20} MiB", hint="Take a part of it.")
    return data


def _text(file: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{file}: not a text in UTF-8", hint="Convert it: iconv -f latin1 -t utf-8 FILE."
        ) from error


def _schema(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}", hint="Name a file with a JSON Schema.") from error
    except ValueError as error:
        raise BadInput(f"{file}: no JSON: {error}", hint="Name a file with a JSON Schema.") from error


def _format(output: Path) -> str:
    if output.suffix.lower() not in _FORMATS:
        raise BadInput(
            f"{output}: a picture of an unknown type", hint=f"End its name with one of {', '.join(_FORMATS)}."
        )
    return _FORMATS[output.suffix.lower()]


def _keep(output: Path, told: Mapping[str, Any]) -> None:
    try:
        output.write_bytes(base64.b64decode(told["image"]))
    except OSError as error:
        raise BadInput(f"{output}: {error.strerror}", hint="Name a file that can be written.") from error
    plain.err(f"{output}: {told['width']} × {told['height']} pixels")


def _shown(part: str, told: Mapping[str, Any]) -> str:
    """The result alone, as a person wants it."""
    if part == "table":
        return _csv([told["columns"], *told["rows"]])
    if part == "extract":
        return json.dumps(told["data"], indent=2, ensure_ascii=False)
    names = {"summarize": "summary", "classify": "label", "describe": "description"}
    return str(told[names.get(part, "text")]).removesuffix("\n")


def _csv(rows: list[list[str | None]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().rstrip("\n")
