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
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, serving(Path(home), args.models) as server:
        for what, form in LENGTHS.items():
            texts = [form.format(number) for number in range(100, 100 + NUM_TEXTS)]
            _embed_s(server, args.model, texts)
            together = median(_embed_s(server, args.model, texts) for _ in range(args.rounds))
            apart = median(
                sum(_embed_s(server, args.model, [text]) for text in texts) for _ in range(args.rounds)
            )
            print(
                f"{what:12} together {together:.3f} s, one by one {apart:.3f} s: {apart / together:.1f} times"
            )


def _embed_s(server: Serving, model: str, texts: list[str]) -> float:
    began = time.monotonic()
    server.call("/api/embed", {"model": model, "input": texts})
    return time.monotonic() - began


if __name__ == "__main__":
    main()
