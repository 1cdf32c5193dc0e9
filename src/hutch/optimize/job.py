"""The program that does one heavy step of `hutch optimize` in a process of its own.

It reads one line of JSON from its standard input, tells progress as lines of JSON on its standard output, and ends with
a result or an error. It ends too when its standard input does. Only here is torch imported.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hutch.core.errors import HutchError
from hutch.core.models import Progress
from hutch.optimize import graphs, logits, weights

Result = Mapping[str, Any]
Steps = Iterator[Progress | Result]


def main() -> None:
    """Do the step that standard input names."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print what they like; that belongs into the log
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        result: Result = {}
        for report in STEPS[asked.pop("step")](**asked):
            if isinstance(report, Progress):
                _tell(lines, {"status": report.status, "total": report.total, "completed": report.completed})
            else:
                result = report
        _tell(lines, {"result": result})
    except HutchError as error:
        _tell(lines, {"error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint}})
    lines.close()
    os._exit(0)  # native libraries may hang in their own ends


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(1)


def _tell(lines: Any, said: Mapping[str, Any]) -> None:
    lines.write(json.dumps(said) + "\n")
    lines.flush()


def _folder(source: str, target: str) -> Steps:
    return weights.folder(Path(source), Path(target))


def _float_gguf(source: str, target: str) -> Steps:
    return weights.float_gguf(Path(source), Path(target))


def _build(source: str, target: str, precision: str, options: Mapping[str, str]) -> Steps:
    return graphs.build(Path(source), Path(target), precision, options)


def _dynamic(source: str, target: str) -> Steps:
    return graphs.dynamic(Path(source), Path(target))


def _affine(source: str, target: str) -> Steps:
    return graphs.affine_blocks(Path(source), Path(target))


def _blocks(source: str, target: str, bits: int, options: Mapping[str, Any]) -> Steps:
    return graphs.blocks(Path(source), Path(target), bits, options)


def _optimized(source: str, target: str) -> Steps:
    return graphs.optimized(Path(source), Path(target))


def _is_float(source: str) -> Steps:
    yield {"is_float": graphs.is_float(Path(source))}


def _reference(kind: str, source: str, texts: str, target: str) -> Steps:
    folder = Path(source)
    ids = logits.windows(folder, json.loads(Path(texts).read_text(encoding="utf-8")))
    partial = Path(f"{target}.partial")
    yield from logits.write_reference(kind, folder, ids, partial)
    partial.replace(target)
    yield {"num_tokens": sum(map(len, ids)), "ids": ids}


def _accuracy(kind: str, source: str, ids: list[list[int]], reference: str) -> Steps:
    return logits.compare(kind, Path(source), ids, Path(reference))


STEPS: Mapping[str, Callable[..., Steps]] = {
    "folder": _folder,
    "float_gguf": _float_gguf,
    "build": _build,
    "affine": _affine,
    "dynamic": _dynamic,
    "blocks": _blocks,
    "optimized": _optimized,
    "is_float": _is_float,
    "reference": _reference,
    "accuracy": _accuracy,
}

if __name__ == "__main__":
    main()
