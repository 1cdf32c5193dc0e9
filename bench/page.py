"""The part of docs/benchmarks.md that a run writes. Pure."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.compare import Report
from bench.figures import Line, Spread
from bench.targets import Verdict

BEGIN = "<!-- begin: written by python -m bench.run -->"
END = "<!-- end: written by python -m bench.run -->"


def spliced(page: str, part: str) -> str:
    """The page with this part between its two marker lines. Raises ValueError where they are not there, once and in order."""
    lines = page.splitlines()
    if [line for line in lines if line in (BEGIN, END)] != [BEGIN, END]:
        raise ValueError(f"the page must have the lines {BEGIN!r} and {END!r}, once each")
    begin, end = lines.index(BEGIN), lines.index(END)
    return "\n".join([*lines[: begin + 1], "", part.strip(), "", *lines[end:]]) + "\n"


def part(
    report: Report,
    about: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    pictures: Sequence[str],
    command: str,
) -> str:
    """Machine, date, verdicts, pictures, and a table for each workload."""
    machine = about["machine"]
    on = (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}. Load average when it began: {machine['load_average'][0]}."
    )
    how = (
        f"Rounds: {report.plan.rounds}. A cell is the median with the lowest and the highest; *times* is how many times "
        f"better than {report.plan.base} (more a second, or sooner, or less memory): the median of the ratios of pairs."
    )
    blocks = [
        f"`{about['model']}`. {on}",
        f"```\n{command}\n```",
        "Versions: " + "; ".join(f"{name} {text}" for name, text in about["versions"].items()) + ".",
        how,
        *_verdicts(verdicts),
        *(f"![{name}]({name})" for name in pictures),
    ]
    lines = report.lines
    for workload in report.plan.workloads:
        rows = [line for line in lines if line.workload == workload.name]
        if rows:
            blocks += [f"### {workload.name}", _table(rows, [name for name, _ in workload.figures])]
    return "\n\n".join([*blocks, *_doubts(report)])


def shown(argv: Sequence[str]) -> str:
    """The command as a reader may type it: of paths only the last part, for the others are of one machine."""
    words = [f"…/{Path(word).name}" if Path(word).is_absolute() else shlex.quote(word) for word in argv]
    return " ".join(["python -m bench.run", *words])


def notes(report: Report) -> list[str]:
    """What makes figures doubtful."""
    found = [
        f"{workload.name}: prompts had {_told(lengths)} tokens on average"
        for workload in report.plan.workloads
        if (lengths := _mean_lengths(report, workload.name))
        and max(lengths.values()) > 1.02 * min(lengths.values())
    ]
    for workload in report.plan.workloads:
        turns = report.of(workload.name)
        short = sum(sum(turn.num_short.values()) for turn in turns)
        if short:
            answers = sum(len(some) for turn in turns for some in turn.tokens.values())
            found.append(f"{workload.name}: {short} of {answers} answers ended before they were asked to")
    if report.was_cut:
        found.append(f"stopped after {report.plan.limit_s:g} s with {len(report.turns)} turns")
    return found


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        return
    rows = [
        "| what must be reached | server | beside | must | aim | measured | |",
        "|---|---|---|--:|--:|--:|---|",
    ]
    for each in verdicts:
        measured = _times(each.found.times) + (
            f", {each.found.difference.median:+.1f} {each.found.unit}"
            if each.target.within is not None and each.found.difference
            else ""
        )
        cells = (
            f"{each.target.workload}: {each.target.figure}", each.server, each.base, each.asked,
            f"{each.target.aim:g}", measured, each.word,
        )  # fmt: skip
        rows.append(_row(cells))
    yield "\n".join(rows)


def _table(rows: Sequence[Line], figures: Sequence[str]) -> str:
    servers = list(dict.fromkeys(row.server for row in rows))
    units = {row.figure: row.unit for row in rows}
    head = ["", *(cell for name in figures for cell in (f"{name}, {units[name]}", "times"))]
    lines = [_row(head), "|---" + "|--:" * (len(head) - 1) + "|"]
    for server in servers:
        cells = [server]
        for name in figures:
            row = next(each for each in rows if (each.server, each.figure) == (server, name))
            cells += [_own(row.own), _times(row.times)]
        lines.append(_row(cells))
    return "\n".join(lines)


def _doubts(report: Report) -> Iterator[str]:
    found = [*notes(report), *(f"{count} × {error}" for error, count in report.errors.items())]
    if found:
        yield "### Notes"
        yield "\n".join(f"- {' '.join(each.split())[:300]}" for each in found)


def _mean_lengths(report: Report, workload: str) -> dict[str, float]:
    """Tokens of a prompt by server, of those that told them."""
    known: dict[str, list[int]] = {}
    for turn in report.of(workload):
        for server, lengths in turn.prompt_tokens.items():
            known.setdefault(server, []).extend(length for length in lengths if length)
    return {server: sum(lengths) / len(lengths) for server, lengths in known.items() if lengths}


def _told(lengths: Mapping[str, float]) -> str:
    return ", ".join(f"{length:.0f} ({server})" for server, length in lengths.items())


def _own(spread: Spread | None) -> str:
    return f"{_short(spread.median)} ({_short(spread.low)}–{_short(spread.high)})" if spread else "–"


def _times(spread: Spread | None) -> str:
    return f"{spread.median:.2f}" if spread else ""


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
