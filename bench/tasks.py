"""How good the task services are: `python -m bench.tasks --models FOLDER --model smollm2:135m`.

Asks a server of its own for every item of bench/data/tasks.json. Scores are shares from 0 to 1, the mean over items.
"""

import argparse
import base64
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.serve import Serving, serving

JsonDict = dict[str, Any]
DATA = Path(__file__).parent / "data" / "tasks.json"
SHORTER = 0.6  # of the text's words: what is longer is no summary
IMAGE_TASKS = ("ocr", "enhance")


@dataclass(frozen=True, slots=True)
class Scored:
    """An item's score, how long the answer took, and the answer; `failure` is why there is none."""

    score: float
    seconds: float
    answer: Any
    failure: str = ""


def same_label(reply: JsonDict, text: str, expected: str) -> float:
    """Whether the label is the right one."""
    del text
    return float(reply["label"] == expected)


def same_fields(reply: JsonDict, text: str, expected: JsonDict) -> float:
    """The share of fields that are as they should be."""
    del text
    return mean(_plain(reply["data"].get(name)) == _plain(value) for name, value in expected.items())


def same_cells(reply: JsonDict, text: str, expected: list[list[str]]) -> float:
    """Rows that are right, by the harmonic mean of how many were found and how many are no inventions."""
    del text
    given = [tuple(map(_plain, row)) for row in reply["rows"]]
    return f1(given, [tuple(map(_plain, row)) for row in expected])


def same_names(reply: JsonDict, text: str, expected: list[str]) -> float:
    """Names that are gone and should be, likewise."""
    return f1(
        [_plain(text[each["start"] : each["end"]]) for each in reply["found"]], list(map(_plain, expected))
    )


def same_text(reply: JsonDict, text: str, expected: str) -> float:
    """Whether the text is as it should be, to the letter."""
    del text
    return float(reply["text"] == expected)


def facts_in_summary(reply: JsonDict, text: str, expected: list[list[str]]) -> float:
    """The share of facts that are still there; none where it is no shorter."""
    said = reply["summary"]
    return facts(said, expected) if len(said.split()) <= SHORTER * len(text.split()) else 0.0


def facts_in_other_words(reply: JsonDict, text: str, expected: list[list[str]]) -> float:
    """The share of facts that are still there; none where the text is as it was."""
    return facts(reply["text"], expected) if _plain(reply["text"]) != _plain(text) else 0.0


def facts(said: str, expected: Sequence[Sequence[str]]) -> float:
    """The share of these facts, each in one of several wordings, that a text has."""
    return mean(any(_plain(wording) in _plain(said) for wording in fact) for fact in expected)


def f1(given: Sequence[Any], expected: Sequence[Any]) -> float:
    """The harmonic mean of precision and recall; 1 where nothing is expected and nothing given."""
    if not given and not expected:
        return 1.0
    return 2 * len(set(given) & set(expected)) / (len(given) + len(set(expected)))


SCORES: dict[str, Callable[[JsonDict, str, Any], float]] = {
    "classify": same_label,
    "extract": same_fields,
    "table": same_cells,
    "redact": same_names,
    "rules": same_text,
    "summarize": facts_in_summary,
    "rewrite": facts_in_other_words,
    "translate": facts_in_other_words,
}


def evaluated(server: Serving, task: str, model: str) -> list[Scored]:
    """Every item of a task; `rules` is redaction without a model."""
    route = "redact" if task == "rules" else task
    named = {} if task == "rules" else {"model": model, "keep_alive": "10m"}
    return [
        _asked(server, route, {"text": text, **named, **group["body"]}, SCORES[task], expected)
        for group in json.loads(DATA.read_text("utf-8"))[task]
        for text, expected in group["items"]
    ]


def read_pictures(server: Serving) -> list[Scored]:
    """Lines drawn in black on white, read again: 1 less the share of characters that are wrong."""

    def score(reply: JsonDict, text: str, expected: str) -> float:
        del text
        return max(0.0, 1 - distance(reply["text"], expected) / len(expected))

    lines = json.loads(DATA.read_text("utf-8"))["ocr"]
    return [_asked(server, "ocr", {"image": _base64(drawn(line))}, score, line) for line in lines]


def quieter_pictures(server: Serving) -> list[Scored]:
    """Pictures with noise in some pixels, made quieter: the share of the squared error that is gone."""
    numbers = np.random.default_rng(7)
    found = []
    for line in json.loads(DATA.read_text("utf-8"))["ocr"]:
        clean = np.asarray(drawn(line)).astype(float)
        hit = numbers.random(clean.shape[:2]) < 0.05
        noisy = np.where(hit[..., None], numbers.choice([0.0, 255.0], clean.shape[:2])[..., None], clean)

        def score(reply: JsonDict, text: str, expected: Any) -> float:
            del text
            before, after = expected
            made = np.asarray(Image.open(io.BytesIO(base64.b64decode(reply["image"]))).convert("RGB"))
            return float(1 - ((made - after) ** 2).sum() / ((before - after) ** 2).sum())

        body = {"image": _base64(Image.fromarray(noisy.astype("uint8"))), "denoise": True}
        found.append(_asked(server, "enhance", body, score, (noisy, clean)))
    return found


def drawn(line: str) -> Image.Image:
    """A picture of a line of text."""
    image = Image.new("RGB", (760, 64), "white")
    ImageDraw.Draw(image).text((16, 12), line, font=ImageFont.load_default(30), fill="black")
    return image


def distance(one: str, other: str) -> int:
    """How many characters have to be put in, taken out or changed (Levenshtein's distance)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def _asked(
    server: Serving, task: str, body: JsonDict, score: Callable[[JsonDict, str, Any], float], expected: Any
) -> Scored:
    began = time.monotonic()
    try:
        reply = server.call(f"/api/tasks/{task}", body)
    except RuntimeError as error:
        return Scored(0.0, time.monotonic() - began, None, str(error))
    seconds = time.monotonic() - began
    told = {key: value for key, value in reply.items() if key != "image"}
    return Scored(score(reply, body.get("text", ""), expected), seconds, told)


def _base64(image: Image.Image) -> str:
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _plain(value: object) -> str:
    return "" if value is None else " ".join(str(value).casefold().split()).strip(" .")


def main() -> None:
    """Ask everything, and print a line for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="the model folder")
    parser.add_argument("--model", default="smollm2:135m")
    parser.add_argument("--task", action="append", choices=(*SCORES, *IMAGE_TASKS), help="only this one")
    parser.add_argument("--verbose", action="store_true", help="show every answer")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, serving(Path(home), args.models) as server:
        for task in args.task or (*SCORES, *IMAGE_TASKS):
            if task == "ocr":
                found = read_pictures(server)
            elif task == "enhance":
                found = quieter_pictures(server)
            else:
                found = evaluated(server, task, args.model)
            unanswered = sum(bool(each.failure) for each in found)
            seconds = mean(each.seconds for each in found)
            print(
                f"{task:10} {mean(each.score for each in found):5.0%} of {len(found)},"
                f" {unanswered} unanswered, {seconds:.2f} s each",
                flush=True,
            )
            if args.verbose:
                print(*(f"  {each.score:.2f} {each.failure or each.answer}" for each in found), sep="\n")


if __name__ == "__main__":
    main()
