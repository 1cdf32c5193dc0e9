"""An answer on the screen: its text as it comes, its thinking, and the figures at its end."""

import shutil
import sys
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from hutch.cli.plain import printable
from hutch.cli.session import Session
from hutch.cli.wrap import Wrapper


def show(session: Session, chunks: Iterable[Mapping[str, Any]]) -> str:
    """Print an answer as it streams in, and return its text. Ctrl-C ends the request and raises KeyboardInterrupt."""
    text: list[str] = []
    try:
        _print(session, chunks, text)
    except KeyboardInterrupt as stop:
        raise Stopped("".join(text)) from stop
    finally:
        if isinstance(chunks, Generator):
            chunks.close()  # closes the connection, which frees the model
    return "".join(text)


class Stopped(KeyboardInterrupt):
    """The user stopped an answer; `text` is what had come."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


def figures(last: Mapping[str, Any]) -> str:
    """What a finished answer took."""

    def of(name: str) -> int:
        return int(last.get(name) or 0)

    rows = [
        ("total duration:", duration(of("total_duration"))),
        ("load duration:", duration(of("load_duration"))),
    ]
    for what in ("prompt eval", "eval"):
        key = what.replace(" ", "_")
        count, took_ns = of(f"{key}_count"), of(f"{key}_duration")
        rows.append((f"{what} count:", f"{count} token(s)"))
        rows.append((f"{what} duration:", duration(took_ns)))
        if took_ns:
            rows.append((f"{what} rate:", f"{count / took_ns * 1e9:.2f} tokens/s"))
    return "\n".join(f"{name:<21} {value}" for name, value in rows)


def duration(nanoseconds: int) -> str:
    """A duration as Go prints it: `4.2s`, `12.5ms`, `1m3s`."""
    if nanoseconds < 1000:
        return f"{nanoseconds}ns" if nanoseconds else "0s"
    for unit, factor in (("µs", 1e3), ("ms", 1e6)):
        if nanoseconds < factor * 1e3:
            return f"{_short(nanoseconds / factor)}{unit}"
    minutes, rest_ns = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{_short(rest_ns / 1e9)}s"


def _short(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def _print(session: Session, chunks: Iterable[Mapping[str, Any]], text: list[str]) -> None:
    is_terminal = sys.stdout.isatty()
    wrapper = Wrapper(shutil.get_terminal_size().columns) if is_terminal and session.is_wrapping else None

    def write(piece: str) -> None:
        shown = printable(piece) if is_terminal else piece
        sys.stdout.write(wrapper.feed(shown) if wrapper else shown)
        sys.stdout.flush()

    is_thinking = False
    last: Mapping[str, Any] = {}
    for last in chunks:
        message = last.get("message") or {}
        thought = last.get("thinking") or message.get("thinking") or ""
        piece = last.get("response") or message.get("content") or ""
        if thought and not session.is_hiding_thinking:
            write(thought if is_thinking else f"Thinking...\n{thought}")
            is_thinking = True
        if piece and is_thinking:
            write("\n...done thinking.\n\n")
            is_thinking = False
        text.append(piece)
        write(piece)
    print("\n" if is_terminal else "")
    is_cut = last.get("done_reason") == "length" and "num_predict" not in session.options
    if is_cut and (is_terminal or session.verbose):
        print("(the answer was cut: the context, or num_predict, was used up)", file=sys.stderr)
    if session.verbose:
        print(figures(last), file=sys.stderr)
