"""How much sooner a conversation goes on after a restart: `python -m bench.restart --models FOLDER --model smollm2:135m`.

Each round asks a server a first question with a long history, ends it, and asks the next question of two new servers: one that finds what
was kept, and one that may keep nothing. The model is loaded before that question; with `--cold` the question loads it.
"""

import argparse
import http.client
import json
import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.serve import Serving, serving

_WORDS = [
    "cat",
    "dog",
    "house",
    "tree",
    "river",
    "stone",
    "light",
    "water",
    "green",
    "apple",
    "road",
    "happy",
]
Messages = list[dict[str, str]]


class Told(NamedTuple):
    """An answer: when its first token came, how many tokens the prompt had and how many of them were there already."""

    first_s: float
    text: str
    num_prompt: int
    num_cached: int


def main() -> None:
    """Measure, and print a line for each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="the model folder")
    parser.add_argument("--model", default="smollm2:135m")
    parser.add_argument("--llama-server", help="a binary, such as one that hutch engine build made")
    parser.add_argument("--words", type=int, default=1950, help="of the history; about as many tokens")
    parser.add_argument("--cold", action="store_true", help="the question loads the model")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    more = {"HUTCH_LLAMA_SERVER": args.llama_server} if args.llama_server else {}
    rounds = [_round(args, more) for _ in range(args.rounds)]
    kept, anew = zip(*rounds, strict=True)
    print(f"median: {_ms(kept)} ms with the prompt kept, {_ms(anew)} ms without: ", end="")
    print(f"{median(b / a for a, b in rounds):.1f} times sooner")


def _round(args: argparse.Namespace, more: Mapping[str, str]) -> tuple[float, float]:
    messages = [{"role": "user", "content": " ".join(random.choice(_WORDS) for _ in range(args.words))}]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "key").write_bytes(os.urandom(32))
        (home / "key").chmod(0o600)
        keeps = {**more, "HUTCH_KEY_FILE": str(home / "key")}
        with serving(home, args.models, keeps) as server:
            first = _asked(server, args.model, messages)
            stop_s = server.stop()
        messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "And now?"}]
        kept, anew = (
            _after_start(home, args, messages, each) for each in (keeps, keeps | {"HUTCH_MAX_KV_DISK": "0"})
        )
    print(
        f"{kept.num_prompt} tokens, {kept.num_cached} kept: {kept.first_s * 1000:.0f} ms; "
        f"{anew.num_cached} kept: {anew.first_s * 1000:.0f} ms; the stop took {stop_s:.2f} s",
        flush=True,
    )
    return kept.first_s, anew.first_s


def _after_start(home: Path, args: argparse.Namespace, messages: Messages, more: Mapping[str, str]) -> Told:
    with serving(home, args.models, more) as server:
        if not args.cold:
            server.load(args.model)
        return _asked(server, args.model, messages)


def _asked(server: Serving, model: str, messages: Messages) -> Told:
    body = {"model": model, "messages": messages, "stream": True, "max_tokens": 8, "temperature": 0}
    body |= {"stream_options": {"include_usage": True}}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    began_s = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    first_s, text = 0.0, ""
    usage: dict[str, Any] = {}
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            piece = event["choices"][0]["delta"].get("content", "") if event["choices"] else ""
            first_s = first_s or (time.perf_counter() - began_s if piece else 0.0)
            text += piece
            usage = event.get("usage") or usage
    connection.close()
    return Told(first_s, text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"])


def _ms(times_s: Sequence[float]) -> str:
    return f"{median(times_s) * 1000:.0f}"


if __name__ == "__main__":
    main()
