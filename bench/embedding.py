"""What a batch of texts saves: `python -m bench.embedding --models FOLDER --model all-minilm`.

Starts a server and embeds 64 texts in one request, then the same in 64 requests one after another.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.serve import Serving, serving

NUM_TEXTS = 64
LENGTHS = {
    "one word": "{}",
    "a question": "why is the sky {}?",
    "a sentence": "text {} about some short thing that people say",
}


def main() -> None:
    """Measure, and print a line for each length of text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="the model folder")
    parser.add_argument("--model", default="all-minilm")
    parser.add_argument("--llama-server", help="a binary, such as one that hutch engine build made")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    more = {"HUTCH_LLAMA_SERVER": args.llama_server} if args.llama_server else {}
    with tempfile.TemporaryDirectory() as home, serving(Path(home), args.models, more) as server:
        for what, form in LENGTHS.items():
            texts = [form.format(number) for number in range(100, 100 + NUM_TEXTS)]
            _embed_s(server, args.model, texts)
            rounds = [_round_s(server, args.model, texts) for _ in range(args.rounds)]
            together, apart = (median(times) for times in zip(*rounds, strict=True))
            ratio = median(apart / together for together, apart in rounds)
            print(
                f"{what:12} together {together:.3f} s, one by one {apart:.3f} s: {ratio:.1f} times",
                flush=True,
            )


def _round_s(server: Serving, model: str, texts: list[str]) -> tuple[float, float]:
    """Both ways in turn, so that what else the machine does is the same for both."""
    return _embed_s(server, model, texts), sum(_embed_s(server, model, [text]) for text in texts)


def _embed_s(server: Serving, model: str, texts: list[str]) -> float:
    began = time.monotonic()
    server.call("/api/embed", {"model": model, "input": texts})
    return time.monotonic() - began


if __name__ == "__main__":
    main()
