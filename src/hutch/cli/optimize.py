"""`hutch optimize`: makes variants of a model, and takes the fastest one that is close enough to it."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hutch import places
from hutch.cli import columns, plain, side, steps
from hutch.cli.steps import Tell
from hutch.core.errors import BadInput, HutchError, NotBuilt
from hutch.core.names import ModelName
from hutch.optimize import picture, source, texts, variant
from hutch.optimize.choice import Outcome
from hutch.optimize.gate import Gate
from hutch.optimize.making import alone
from hutch.optimize.olive import PREFIX, run_recipe
from hutch.optimize.picture_png import png
from hutch.optimize.records import Records
from hutch.optimize.search import Report, Search, Wanted
from hutch.optimize.source import Source
from hutch.store.local import local_store

_HEADS = ("VARIANT", "SIZE", "FIRST TOKEN", "DECODE", "8 AT ONCE", "MEMORY", "MEAN KL", "TOP-1", "")


def optimize(args: argparse.Namespace) -> int:
    """Make one variant, search among all, or tell of earlier searches."""
    if args.history:
        return _history(args)
    if not args.model:
        raise BadInput("hutch optimize needs a model", hint="Run 'hutch optimize --help'.")
    if not side.is_here():
        raise NotBuilt("a model is optimised on the machine that has it", hint="Run this command there.")
    given = texts.of_file(Path(args.data).expanduser()) if args.data else texts.built_in()
    wanted = Wanted(args.format or "", (args.quant or "").lower(), given, _gate(args))
    found = source.find(args.model, local_store())
    _target(args, found, "")  # what has no name is refused at once
    _picture_file(args)
    config = _recipe(args)
    search = Search(_root(), found, wanted)
    with steps.shown() as tell, alone(_root()):
        try:
            if config is None:
                report: Report = steps.follow(search.run(), tell)
            else:
                made = steps.follow(run_recipe(_root(), found, config), tell)
                report = steps.follow(search.judged(f"{PREFIX}{config.name}", made), tell)
        except KeyboardInterrupt:
            plain.err("stopped: what was found is kept, and the same command goes on from there")
            raise
        created = _create(args, report, found, tell)
        search.clean()
    return _finish(args, report, created)


def _gate(args: argparse.Namespace) -> Gate:
    said = {"max_mean_kl": args.max_kl, "min_top1": args.min_top1}
    return Gate(**{key: value for key, value in said.items() if value is not None})


def _recipe(args: argparse.Namespace) -> Path | None:
    """The Olive configuration; None where none is named. Raises BadInput for what is none."""
    if not args.recipe:
        return None
    if args.format or args.quant:
        raise BadInput(
            "--recipe says what is made", hint="Leave --format and --quant out, or leave --recipe out."
        )
    if not args.recipe.startswith(PREFIX):
        raise BadInput(f"--recipe takes {PREFIX}FILE", hint="FILE is an Olive configuration in JSON or YAML.")
    return Path(args.recipe.removeprefix(PREFIX)).expanduser()


def _root() -> Path:
    return places.home() / "optimize"


def _target(args: argparse.Namespace, found: Source, format_: str) -> ModelName | None:
    """The name that a variant of this format is to get; None for a search that only tells."""
    if args.to:
        return ModelName.parse(args.to)
    if not (args.quant or args.recipe):
        return None
    if found.name is None:
        raise BadInput("a variant of a folder needs a name", hint="Give one with --to NAME.")
    word = args.quant.lower() if args.quant else "olive"
    return found.name._replace(tag=f"{found.name.tag}-{format_}-{word}")


def _create(args: argparse.Namespace, report: Report, found: Source, tell: Tell) -> ModelName | None:
    """Give the chosen variant its name, where one was asked for."""
    if report.made is None or (target := _target(args, found, report.made.format)) is None:
        return None
    for step in variant.put(local_store(), target, report.made, found.name):
        tell(step)
    return target


def _finish(args: argparse.Namespace, report: Report, created: ModelName | None) -> int:
    said = {**report.as_json(), "created": created.short if created else None}
    kept = Records(_root()).keep_search(said)
    drawing = _picture_file(args) or kept.with_suffix(".svg")
    title = f"{report.source} on {said['machine']['processor']}, {said['machine']['cores']} cores"
    shown = title, report.outcomes, report.gate, report.chosen
    if drawing.suffix.lower() == ".png":
        drawing.write_bytes(png(picture.shapes(*shown)))
    else:
        drawing.write_text(picture.svg(*shown), encoding="utf-8")
    if args.json:
        print(json.dumps({"id": kept.stem, **said, "picture": str(drawing)}, indent=2, ensure_ascii=False))
    else:
        plain.out(columns.table(_HEADS, [_row(each, report.chosen) for each in report.outcomes]))
        print(f"\ngate: {report.gate}")
        plain.out(_verdict(report, created))
        plain.out(f"picture: {drawing}")
    return 0 if report.chosen else HutchError.exit_code


def _picture_file(args: argparse.Namespace) -> Path | None:
    """Where the picture is to go; None where nobody says. Raises BadInput for what cannot be."""
    if not args.picture:
        return None
    path = Path(args.picture).expanduser()
    if path.suffix.lower() not in (".svg", ".png"):
        raise BadInput("--picture takes a file that ends in .svg or .png")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise BadInput(f"--picture: {path} cannot be written", hint="Name a file in a folder that is there.")
    return path


def _row(outcome: Outcome, chosen: Outcome | None) -> tuple[str, ...]:
    speed, accuracy = outcome.speed, outcome.accuracy
    timed = (
        (
            f"{speed.first_token_s * 1000:.0f} ms",
            f"{speed.decode_tps:.0f} tok/s",
            f"{speed.total_tps:.0f} tok/s",
            columns.human_size(speed.memory_bytes),
        )
        if speed
        else ("-", "-", "-", "-")
    )
    compared = (f"{accuracy.mean_kl:.4f}", f"{accuracy.top1:.3f}") if accuracy else ("-", "-")
    said = outcome.problem or "; ".join(outcome.objections)
    word = "chosen" if outcome is chosen else f"fails: {said}" if said else "passes"
    size = columns.human_size(outcome.size_bytes) if outcome.size_bytes else "-"
    return (outcome.name, size, *timed, *compared, word)


def _verdict(report: Report, created: ModelName | None) -> str:
    if report.chosen is None:
        return "no variant passes the gate, so none was made: the figures above say why"
    if created is not None:
        return f"created {created.short}"
    if report.chosen.is_source:
        return f"the fastest that passes is {report.source} as it is"
    wanted = f"--format {report.chosen.format} --quant {report.chosen.name.partition('-')[2]}"
    return (
        f"the fastest that passes is {report.chosen.name}: hutch optimize {report.source} {wanted} --to NAME"
    )


def _history(args: argparse.Namespace) -> int:
    searches = Records(_root()).searches()
    if args.model:
        named = {args.model, _short(args.model)}
        searches = [each for each in searches if each[1].get("source") in named]
    if args.json:
        told = [{"id": name, **report} for name, report in searches]
        print(json.dumps({"searches": told}, indent=2, ensure_ascii=False))
        return 0
    rows = [_history_row(name, report) for name, report in searches]
    plain.out(columns.table(("ID", "MODEL", "CANDIDATES", "CHOSEN", "CREATED", "WHEN"), rows))
    if not rows:
        print("nothing was optimised yet", file=sys.stderr)
    return 0


def _short(text: str) -> str:
    """A model's name as reports have it; a path as it is."""
    try:
        return ModelName.parse(text).short
    except BadInput:
        return text


def _history_row(name: str, report: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name[:12],
        str(report.get("source", "")),
        str(len(report.get("candidates", ()))),
        str(report.get("chosen") or "-"),
        str(report.get("created") or "-"),
        columns.human_time(str(report["at"])),
    )
