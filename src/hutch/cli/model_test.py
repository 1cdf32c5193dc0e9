"""`hutch models test`: whether a model answers here, and with `--benchmark` how fast."""

import argparse
import json
import math
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hutch import places
from hutch.cli import background, columns, http, plain, steps
from hutch.cli.benchmark_picture import svg
from hutch.cli.client import HttpServer
from hutch.core.errors import BadInput, EngineFailed, HutchError, NotFound
from hutch.core.models import Progress
from hutch.core.names import ModelName
from hutch.optimize import texts

_PROMPT = "Say hello in one short sentence."
_ROUNDS = 3
_TOGETHER = (1, 2, 4, 8)
_BUDGET_S = 60.0  # after which nothing more is begun, so that a large model is not timed for an hour
_LONG_CHARS, _SHORT_CHARS = 1_800, 400  # about 420 and 95 tokens of English
_LONG_ANSWER, _SHORT_ANSWER = 48, 32  # tokens
Json = dict[str, Any]


class Timed(NamedTuple):
    """One answer: when its first and its last piece came, counted from the question, and the server's own figures."""

    first_s: float
    whole_s: float
    figures: Json

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return int(self.figures.get("eval_count") or 0)

    @property
    def decode_tps(self) -> float:
        """Tokens a second after the first one."""
        return (self.tokens - 1) / max(1e-9, self.whole_s - self.first_s)

    @property
    def prefill_tps(self) -> float:
        """Tokens of the prompt a second."""
        took_s = (self.figures.get("prompt_eval_duration") or 0) / 1e9
        return int(self.figures.get("prompt_eval_count") or 0) / took_s if took_s else 0.0


class Together(NamedTuple):
    """So many requests at once."""

    requests: int
    tokens_per_s: float
    slowest_first_token_s: float
    took_s: float


def test(args: argparse.Namespace) -> int:
    """Ask the model, and say whether it passed; the exit code is 1 where it did not."""
    background.ensure()
    about = _about(args.model)
    is_embedding = "embedding" in about.get("capabilities", ()) and "completion" not in about["capabilities"]
    if args.benchmark and is_embedding:
        raise BadInput(
            f"{args.model} makes vectors: the benchmark times text", hint="Leave --benchmark out to try it."
        )
    if args.picture and not args.benchmark:
        raise BadInput("--picture is for --benchmark", hint="Give both.")
    place = _picture_place(args) if args.benchmark else None  # before a minute of work
    report = {"model": args.model} | (_embedded(args.model) if is_embedding else _answered(args.model))
    if not args.json:
        plain.out(f"{'pass' if report['passed'] else 'fail'}: {report['told']}")
    if place and report["passed"]:
        report["benchmark"] = _benchmark(args.model, about)
        place.write_text(svg(report["benchmark"]), encoding="utf-8")
        report["picture"] = str(place)
        if not args.json:
            _show(report["benchmark"])
            plain.out(f"picture: {place}")
    if args.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    return 0 if report["passed"] else HutchError.exit_code


def _about(name: str) -> Json:
    try:
        return http.ask("POST", "/api/show", {"model": name})
    except NotFound as error:
        raise NotFound(error.message, hint=f"Fetch it with `hutch models pull {name}`.") from error


def _answered(name: str) -> Json:
    """Whether it says something to a question."""
    chat = {
        "messages": [{"role": "user", "content": _PROMPT}],
        "options": {"num_predict": 48, "temperature": 0},
    }
    try:
        told = HttpServer().ask("/api/chat", {"model": name, "stream": False, **chat})
    except EngineFailed as error:
        return {"passed": False, "told": f"{error.message}. {error.hint}".rstrip(". ")}
    message = told["message"]
    text = (message.get("content") or message.get("thinking") or "").strip()
    passed = bool(text) and bool(told.get("eval_count"))
    load_s, whole_s = told["load_duration"] / 1e9, told["total_duration"] / 1e9
    said = f"{told['eval_count']} tokens in {whole_s - load_s:.2f} s, loaded in {load_s:.2f} s: {text}"
    return {"passed": passed, "told": said if passed else "it said nothing", "answer": text, "load_s": load_s}


def _embedded(name: str) -> Json:
    """Whether it makes vectors of two texts, and not the same ones."""
    try:
        told = HttpServer().ask("/api/embed", {"model": name, "input": ["a red apple", "tax law"]})
    except EngineFailed as error:
        return {"passed": False, "told": error.message}
    one, other = told["embeddings"]
    is_finite = all(math.isfinite(number) for number in (*one, *other))
    passed = is_finite and any(one) and one != other
    return {
        "passed": passed,
        "told": f"two vectors of {len(one)} numbers" if passed else "its vectors say nothing",
    }


def _benchmark(name: str, about: Json) -> Json:
    """All figures. The prompts are all different, so that none finds what another one left behind."""
    with steps.shown() as tell:
        total = _ROUNDS + len(_TOGETHER)
        tell(Progress("timing", total=total, completed=0))
        _ask(name, 0, _SHORT_CHARS, 4)  # warm
        began = time.monotonic()
        alone: list[Timed] = []
        while len(alone) < _ROUNDS and (not alone or time.monotonic() - began < _BUDGET_S / 4):
            alone.append(_ask(name, len(alone) + 1, _LONG_CHARS, _LONG_ANSWER))
            tell(Progress("timing", total=total, completed=len(alone)))
        together: list[Together] = []
        for number, requests in enumerate(_TOGETHER):
            needed_s = 2 * together[-1].took_s if together else 0.0
            if time.monotonic() - began + needed_s > _BUDGET_S:
                break
            together.append(_at_once(name, requests))
            tell(Progress("timing", total=total, completed=_ROUNDS + number + 1))
    row = _loaded(name)
    middle = statistics.median
    return {
        "model": name,
        "first_token_s": middle(each.first_s for each in alone),
        "decode_tokens_per_s": middle(each.decode_tps for each in alone),
        "prefill_tokens_per_s": middle(each.prefill_tps for each in alone),
        "prompt_tokens": int(middle(float(each.figures["prompt_eval_count"]) for each in alone)),
        "rounds": len(alone),
        "left_out": list(_TOGETHER[len(together) :]),
        "concurrency": [each._asdict() for each in together],
        "memory_bytes": row["size"],
        "slots": row["slots"],
        "context_length": row["context_length"],
        "engine": row["engine"],
        "quantization": about["details"]["quantization_level"],
    }


def _loaded(name: str) -> Json:
    """What `/api/ps` tells of it, or of the variant that a deployment loads in its place."""
    wanted = ModelName.parse(name)
    deployed = http.ask("GET", "/api/deployments")["deployments"]
    replaced = [each for each in deployed if each["variant"]]
    variants = [each["variant"] for each in replaced if wanted.same_as(ModelName.parse(each["model"]))]
    names = (wanted, *(ModelName.parse(variant) for variant in variants))
    for row in http.ask("GET", "/api/ps")["models"]:
        if any(ModelName.parse(row["name"]).same_as(each) for each in names):
            return dict(row)
    raise NotFound(f"{name} was unloaded while it was timed", hint="Time it again when less is going on.")


def _ask(name: str, number: int, length: int, num_predict: int) -> Timed:
    body = {
        "model": name,
        "prompt": _text(number, length),
        "raw": True,
        "options": {"num_predict": num_predict, "temperature": 0, "num_ctx": 2048},
    }
    began = time.perf_counter()
    first_s, figures = 0.0, {}
    for piece in HttpServer().stream("/api/generate", body):
        first_s, figures = first_s or time.perf_counter() - began, piece
    timed = Timed(first_s, time.perf_counter() - began, figures)
    if timed.tokens < 2:
        raise EngineFailed("the model wrote nothing that could be timed", hint="Ask it with `hutch run`.")
    return timed


def _at_once(name: str, requests: int) -> Together:
    first = 1000 * requests
    began = time.perf_counter()
    with ThreadPoolExecutor(requests) as pool:
        answers = list(
            pool.map(
                lambda number: _ask(name, number, _SHORT_CHARS, _SHORT_ANSWER), range(first, first + requests)
            )
        )
    took_s = time.perf_counter() - began
    return Together(
        requests,
        sum(each.tokens for each in answers) / took_s,
        max(each.first_s for each in answers),
        took_s,
    )


def _text(number: int, length: int) -> str:
    """A text that no other number gives."""
    whole = "\n\n".join(texts.built_in())
    begin = number * 997 % len(whole)
    return f"{number}. {(whole[begin:] + whole[:begin])[:length]}"


def _show(found: Json) -> None:
    rows = [
        (
            "first token",
            f"{found['first_token_s'] * 1000:.0f} ms",
            f"prompt of {found['prompt_tokens']} tokens",
        ),
        ("decode", f"{found['decode_tokens_per_s']:.0f} tok/s", "one request"),
        ("prefill", f"{found['prefill_tokens_per_s']:.0f} tok/s", "one request"),
        *(
            (
                f"{each['requests']} at once",
                f"{each['tokens_per_s']:.0f} tok/s",
                f"slowest first token {each['slowest_first_token_s'] * 1000:.0f} ms",
            )
            for each in found["concurrency"]
        ),
        (
            "memory",
            columns.human_size(found["memory_bytes"]),
            f"{found['slots']} slots of {found['context_length']} tokens, {found['quantization']}, {found['engine']}",
        ),
    ]
    plain.out(columns.table(("MEASURED", "", ""), rows))
    if found["left_out"]:
        counts = ", ".join(map(str, found["left_out"]))
        plain.out(f"left out, because it would take too long: {counts} at once")


def _picture_place(args: argparse.Namespace) -> Path:
    """Where the picture goes. Raises BadInput where none can be written."""
    slug = args.model.replace("/", "-").replace(":", "-")
    path = (
        Path(args.picture).expanduser()
        if args.picture
        else places.home() / "benchmarks" / f"{slug}-{time.strftime('%Y%m%d-%H%M%S')}.svg"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path.parent}: {error.strerror}", hint="Name another --picture.") from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadInput(f"{path} cannot be written", hint="Name another --picture.")
    return path
