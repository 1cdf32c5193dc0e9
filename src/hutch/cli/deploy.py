"""`hutch deploy`: a deployment file put into effect, with a look at what it changes first."""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hutch import places
from hutch.cli import background, client, columns, http, models, plain, progress, side
from hutch.core.deployment import Deployment
from hutch.core.errors import BadInput, Damaged, NotFound, Unreachable
from hutch.core.names import ModelName
from hutch.formats import deployment as form
from hutch.store import deployments

_PATH = "/api/deployments"
Told = dict[str, Any]


def deploy(args: argparse.Namespace) -> None:
    """Apply a file, or list, remove and roll back what was applied."""
    if args.action != "apply" and (args.config or args.dry_run):
        raise BadInput(f"hutch deploy {args.action} takes no file", hint="Leave --config and --dry-run out.")
    {"apply": _apply, "list": _list, "remove": _remove, "rollback": _rollback}[args.action](args)


def records() -> list[Told]:
    """What `/api/deployments` would tell of what is on record."""
    return [_told(port, found) for port, found in deployments.read_all().items()]


def _told(port: int, found: deployments.Record | Damaged) -> Told:
    if isinstance(found, Damaged):
        told = deployments.row(port, None, None, "failed", f"{found.message}. {found.hint}")
    else:
        told = deployments.row(port, found.now, found, "stopped", "")
    return told | {"recorded": True}


def _known() -> list[Told]:
    """All deployments: of the server, or where none runs here on record."""
    told = side.either(lambda: http.ask("GET", _PATH)["deployments"], "hutch.cli.deploy:records")
    return list(told)


def _apply(args: argparse.Namespace) -> None:
    if not args.config:
        raise BadInput("hutch deploy needs a file", hint="Write: hutch deploy --config production.json")
    known = _known()
    wanted = _read([Path(name).expanduser() for name in args.config], known)
    now = next((each for each in known if each["port"] == wanted.port), None)
    about = _about(wanted.model)
    changes = list(_changes((now["document"] if now else None) or {}, form.document_of(wanted)))
    is_needed = bool(changes) or now is None or now["state"] != "ready" or _is_stale(now)
    report: Told = {
        "port": wanted.port,
        "model": wanted.model.short,
        "changes": [{"key": key, "from": old, "to": new} for key, old, new in changes],
        "applied": False,
    }
    if not args.json:
        _show(wanted, now, changes)
    if is_needed and not args.dry_run:
        report |= _applied(wanted, about)
        report["applied"] = True
    _finish(args, report, wanted, is_needed=is_needed)


def _is_stale(now: Told) -> bool:
    """Whether the variant that serves was made of an older model than the one of that name."""
    if not now["variant"]:
        return False
    tags = side.either(lambda: http.ask("GET", "/api/tags"), "hutch.cli.stored:tags")
    at = {ModelName.parse(row["name"]).short.lower(): row["modified_at"] for row in tags["models"]}
    made, source = at.get(now["variant"].lower(), ""), at.get(now["model"].lower(), "")
    return not made or columns.parse_time(source) > columns.parse_time(made)


def _applied(wanted: Deployment, about: Told) -> Told:
    """Have it done, and tell what came of it."""
    variant, notes = _variant(wanted, about)
    background.ensure(deploys=True)
    body = form.document_of(wanted) | ({"variant": variant.short} if variant else {})
    progress.show(client.HttpServer().stream(f"{_PATH}/{wanted.port}", body, method="PUT"))
    served = variant or wanted.model
    rows = http.ask("GET", "/api/ps")["models"]
    row = next((row for row in rows if ModelName.parse(row["name"]).same_as(served)), None)
    names = ("name", "engine", "context_length", "slots", "size", "size_vram", "hardware")
    return {"notes": notes, "running": {name: row.get(name) for name in names} if row else None}


def _variant(wanted: Deployment, about: Told) -> tuple[ModelName | None, list[str]]:
    """The model in number formats of eight bits, where that is asked for and there is something to do."""
    if wanted.quantization != "dynamic":
        return None, []
    variant, note = side.here("hutch.cli.deploy_variant:dynamic", wanted.model, about["details"])
    return variant, [note]


def _finish(args: argparse.Namespace, report: Told, wanted: Deployment, *, is_needed: bool) -> None:
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for note in report.get("notes", ()):
        plain.out(f"quantization: {note}")
    if running := report.get("running"):
        for step in (running["hardware"] or {}).get("fallbacks", ()):
            plain.out(f"not on {step['provider']}: {step['reason']}")
        plain.out(
            f"{running['name']} on {models.runs_on(running)} by {running['engine']}: {running['slots']} requests at once, "
            f"context of {running['context_length']} tokens, {columns.human_size(running['size'])}"
        )
    if args.dry_run:
        print("nothing was changed" if is_needed else "nothing to do")
    elif is_needed:
        print(f"ready: {_url(wanted.port)}{'/v1' if wanted.openai_compatible else '/api'}")
    else:
        print(f"nothing to do: it is served at {_url(wanted.port)}")


def _url(port: int) -> str:
    address = places.server_address().for_client
    return places.Address(address.scheme, address.host, port).url


def _read(paths: Iterable[Path], known: list[Told]) -> Deployment:
    """The deployment that these files say together. One with `performance` alone is for the one deployment that is there."""
    document: Told = {}
    lines: dict[Any, str] = {}
    for path in paths:
        label = path.name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}", hint="Name a deployment file.") from error
        said = form.read(data, label)
        if twice := document.keys() & said.keys():
            raise BadInput(f"{label}: {min(twice)!r} is in another file too", hint="Say it in one of them.")
        document |= said
        lines |= form.lines_of(data, label)
    if "performance" in document and "deployment" not in document:
        if len(known) != 1 or known[0]["document"] is None:
            raise BadInput(
                "the file has no 'deployment', and there is not exactly one to change",
                hint="Give both: hutch deploy --config production.json --config performance.json",
            )
        document["deployment"] = known[0]["document"]["deployment"]
    return form.parse(document, lines)


def _about(name: ModelName) -> Told:
    """What the model is. Raises NotFound where it is not there."""
    try:
        told: Told = side.either(
            lambda: http.ask("POST", "/api/show", {"model": name.short}),
            "hutch.cli.local:show",
            name.short,
            verbose=False,
        )
    except NotFound as error:
        raise NotFound(error.message, hint=f"Fetch it with `hutch models pull {name.short}`.") from error
    return told


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    before = dict(form.flat(old))
    for key, value in form.flat(new):
        if before.get(key) != value:
            yield key, before.get(key), value


def _show(wanted: Deployment, now: Told | None, changes: list[tuple[str, Any, Any]]) -> None:
    counted = f"{len(changes) or 'no'} change{'s' * (len(changes) > 1)}"
    what = "new" if now is None else counted
    plain.out(f"deployment on port {wanted.port}: {what}")
    rows = [
        ("+" if now is None else "~", key, _text(new) if now is None else f"{_text(old)} → {_text(new)}")
        for key, old, new in changes
        if now is not None or new not in (None, [])
    ]
    if rows:
        plain.out("\n".join(columns.lines(rows)))


def _text(value: object) -> str:
    return "-" if value in (None, []) else json.dumps(value, ensure_ascii=False)


def _list(args: argparse.Namespace) -> None:
    known = _known()
    if args.json:
        print(json.dumps({"deployments": known}, indent=2))
        return
    rows = [
        (
            str(each["port"]),
            each["model"],
            each["state"],
            _speaks_openai(each["document"]),
            columns.human_time(each["applied_at"]) if each["applied_at"] else "with the server",
        )
        for each in known
    ]
    plain.out(columns.table(("PORT", "MODEL", "STATE", "OPENAI", "APPLIED"), rows))
    for each in known:
        if each["problem"]:
            plain.out(f"port {each['port']}: {each['problem']}")


def _speaks_openai(document: Told | None) -> str:
    if document is None:
        return "?"
    return "yes" if document["deployment"]["api"]["openai_compatible"] else "no"


def _remove(args: argparse.Namespace) -> None:
    port = _port(args)
    try:
        http.ask("DELETE", f"{_PATH}/{port}")
    except Unreachable:
        if not side.is_here():
            raise
        if not deployments.is_kept(port):
            raise NotFound(f"nothing is deployed on port {port}", hint="See `hutch deploy list`.") from None
        deployments.forget(port)
    print(f"removed the deployment on port {port}")


def _rollback(args: argparse.Namespace) -> None:
    port = _port(args)
    background.ensure(deploys=True)
    progress.show(client.HttpServer().stream(f"{_PATH}/{port}/rollback", {}))
    (now,) = [each for each in _known() if each["port"] == port]
    print(f"port {port} serves {now['model']} again, as before")


def _port(args: argparse.Namespace) -> int:
    """The port that is meant: the one that is named, or that of the only deployment."""
    if args.port is not None:
        return int(args.port)
    known = _known()
    if not known:
        raise NotFound("nothing is deployed", hint="hutch deploy --config production.json")
    if len(known) > 1:
        ports = ", ".join(str(each["port"]) for each in known)
        raise BadInput("there are several deployments", hint=f"Name the port of one: {ports}.")
    return int(known[0]["port"])
