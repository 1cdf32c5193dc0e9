"""`hutch compare`: the same prompts to two models, answers side by side, and what each took."""

import argparse
import json
import shutil
import textwrap
import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from hutch.cli import background, columns, plain
from hutch.cli.client import HttpServer
from hutch.cli.run import described
from hutch.core.errors import BadInput

PROMPTS = (
    "Explain in two sentences why the sky is blue.",
    "Write a Python function that tells whether a number is prime.",
    "Translate into French: Where is the nearest railway station?",
    "A train leaves at 9:40 and arrives at 11:05. How long does the journey take?",
)
_GAP = " │ "
_NARROWEST = 20


class Answer(NamedTuple):
    """An answer with its times in seconds; `decode_tps` in tokens a second."""

    text: str
    first_token_s: float
    decode_tps: float
    tokens: int
    prompt_tokens: int
    done_reason: str


def compare(args: argparse.Namespace) -> None:
    """Ask both models greedily, one after the other."""
    if args.tokens < 1:
        raise BadInput("--tokens takes a number from 1 up")
    background.ensure()
    server = HttpServer()
    first, second = described(server, args.first), described(server, args.second)
    models = first[0], second[0]
    for model, told in (first, second):
        if "completion" not in (told.get("capabilities") or ()):
            raise BadInput(f"'{model}' writes no text", hint="Compare models that do.")
    prompts: Sequence[str] = args.prompts or PROMPTS
    answers = []
    for (
        model
    ) in models:  # all prompts of one model first: two that do not fit together would take turns in memory
        _ask(server, model, "Hello", 1)  # loads it
        answers.append([_ask(server, model, prompt, args.tokens) for prompt in prompts])
    pairs = list(zip(*answers, strict=True))
    if args.json:
        print(json.dumps(_as_json(models, prompts, pairs), indent=2, ensure_ascii=False))
        return
    for prompt, pair in zip(prompts, pairs, strict=True):
        plain.out(_beside(prompt, models, pair, shutil.get_terminal_size().columns))
    rows = [(model, *_figures(each)) for model, each in zip(models, answers, strict=True)]
    plain.out(columns.table(("MODEL", "FIRST TOKEN", "DECODE", "TOKENS"), rows))
    same = sum(first.text == second.text for first, second in pairs)
    print(f"equal answers: {same} of {len(prompts)}")


def _ask(server: HttpServer, model: str, prompt: str, num_tokens: int) -> Answer:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "options": {"temperature": 0, "seed": 0, "num_predict": num_tokens},
    }
    began = time.perf_counter()
    first_s = 0.0
    text: list[str] = []
    last: dict[str, Any] = {}
    for last in server.stream("/api/chat", body):
        message = last.get("message") or {}
        piece = (message.get("thinking") or "") + (message.get("content") or "")
        if piece and not first_s:
            first_s = time.perf_counter() - began
        text.append(piece)
    tokens, took_s = int(last.get("eval_count") or 0), int(last.get("eval_duration") or 0) / 1e9
    rate = (tokens - 1) / took_s if tokens > 1 and took_s else 0.0
    prompt_tokens = int(last.get("prompt_eval_count") or 0)
    return Answer(
        "".join(text).strip(), first_s, rate, tokens, prompt_tokens, str(last.get("done_reason") or "")
    )


def _beside(prompt: str, models: tuple[str, str], pair: Sequence[Answer], width: int) -> str:
    half = max(_NARROWEST, (width - len(_GAP)) // 2)
    sides = [
        [*textwrap.wrap(model, half), "─" * half, *_wrapped(answer.text, half), "─" * half, _line(answer)]
        for model, answer in zip(models, pair, strict=True)
    ]
    rows = [f"{left:<{half}}{_GAP}{right}".rstrip() for left, right in zip_longest(*sides, fillvalue="")]
    return "\n".join([f"» {prompt}", "", *rows, ""])


def _wrapped(text: str, width: int) -> list[str]:
    return [
        part
        for line in text.splitlines()
        for part in textwrap.wrap(line, width, replace_whitespace=False) or [""]
    ]


def _line(answer: Answer) -> str:
    return f"{answer.first_token_s * 1000:.0f} ms, {answer.decode_tps:.0f} tok/s, {answer.tokens} tokens"


def _figures(answers: Sequence[Answer]) -> tuple[str, str, str]:
    rates = [each.decode_tps for each in answers if each.decode_tps]
    first = sum(each.first_token_s for each in answers) / len(answers)
    rate = sum(rates) / len(rates) if rates else 0.0
    return f"{first * 1000:.0f} ms", f"{rate:.0f} tok/s", str(sum(each.tokens for each in answers))


def _as_json(
    models: tuple[str, str], prompts: Sequence[str], pairs: Sequence[Sequence[Answer]]
) -> dict[str, Any]:
    told = [
        {
            "prompt": prompt,
            "answers": [
                {"model": model, **answer._asdict()} for model, answer in zip(models, pair, strict=True)
            ],
        }
        for prompt, pair in zip(prompts, pairs, strict=True)
    ]
    return {"models": models, "prompts": told}
