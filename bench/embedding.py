"""What a batch of texts saves: `python -m bench.embedding --models FOLDER --model all-minilm`.

Starts a server and embeds 64 texts in one request, then the same in 64 requests one after another. Beside the time that
passes stands the processor time of front and worker (Linux), which on a machine with other work says more; take it with
`--threads 1`, since a thread that waits for another one spins.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
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
    parser.add_argument("--num-gpu", type=int, help="1 or more: llama.cpp runs what ONNX Runtime would")
    parser.add_argument("--threads", type=int, help="the engine's; else as many as there are cores")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    asked = {
        "HUTCH_LLAMA_SERVER": args.llama_server,
        "HUTCH_NUM_GPU": args.num_gpu,
        "HUTCH_NUM_THREAD": args.threads,
    }
    more = {name: str(value) for name, value in asked.items() if value}
    with tempfile.TemporaryDirectory() as home, serving(Path(home), args.models, more) as server:
        for what, form in LENGTHS.items():
            texts = [form.format(number) for number in range(100, 100 + NUM_TEXTS)]
            _embed_s(server, args.model, texts)
            rounds = [_round(server, args.model, texts) for _ in range(args.rounds)]
            elapsed, cpu = zip(*rounds, strict=True)
            print(f"{what:12} {_told(elapsed)}; processor time {_told(cpu)}", flush=True)


def _told(pairs: Sequence[tuple[float, float]]) -> str:
    together, apart = (median(times) for times in zip(*pairs, strict=True))
    ratio = median(apart / together for together, apart in pairs if together)
    return f"together {together:.3f} s, one by one {apart:.3f} s: {ratio:.1f} times"


def _round(server: Serving, model: str, texts: list[str]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both ways in turn, so that what else the machine does is the same for both: the time that passed, and the processors'."""
    workers = [int(line["pid"]) for line in server.call("/api/ps")["models"]]
    at = [_times_s(server.process.pid, *workers)]
    _embed_s(server, model, texts)
    at.append(_times_s(server.process.pid, *workers))
    for text in texts:
        _embed_s(server, model, [text])
    at.append(_times_s(server.process.pid, *workers))
    (began, cpu_began), (between, cpu_between), (ended, cpu_ended) = at
    return (between - began, ended - between), (cpu_between - cpu_began, cpu_ended - cpu_between)


def _times_s(*pids: int) -> tuple[float, float]:
    """The clock, and the processor time of all threads of these processes."""
    threads = (file for pid in pids for file in Path("/proc", str(pid), "task").glob("*/schedstat"))
    return time.monotonic(), sum(map(_cpu_ns, threads)) / 1e9


def _cpu_ns(schedstat: Path) -> int:
    try:
        return int(schedstat.read_text().split()[0])
    except OSError:  # the thread has ended since it was listed
        return 0


def _embed_s(server: Serving, model: str, texts: list[str]) -> float:
    began = time.monotonic()
    server.call("/api/embed", {"model": model, "input": texts})
    return time.monotonic() - began


if __name__ == "__main__":
    main()
