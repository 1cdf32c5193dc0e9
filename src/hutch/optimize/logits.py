"""What a model thinks of each next word of some texts, within the job's process; and how far two models are apart in it.

The reference is kept as 16-bit logarithms in a file, since it is larger than memory may be.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hutch.core.errors import BadInput
from hutch.core.models import Progress
from hutch.engines.onnx.session import Decoder
from hutch.formats import genai_config
from hutch.optimize.libraries import needed
from hutch.optimize.texts import MAX_TOKENS, MIN_TOKENS, WINDOW_TOKENS

Floats = NDArray[np.float32]
_ROWS = 8  # texts that an ONNX model reads at a time


class Part(NamedTuple):
    """Logits [n, vocabulary] of the positions at `places`, counted over all texts."""

    places: NDArray[np.int64]
    logits: Floats


def windows(folder: Path, texts: Sequence[str]) -> list[list[int]]:
    """Each text as token ids of the folder's tokenizer, long ones in windows. Raises BadInput where they are too few."""
    tokenizer = needed("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    found: list[list[int]] = []
    num_tokens = 0
    for text in texts:
        ids = tokenizer.encode(text).ids
        for begin in range(0, len(ids), WINDOW_TOKENS):
            if num_tokens >= MAX_TOKENS:
                return found
            found.append(ids[begin : begin + WINDOW_TOKENS])
            num_tokens += len(found[-1])
    if num_tokens < MIN_TOKENS:
        raise BadInput(
            f"the texts have {num_tokens:,} tokens, and {MIN_TOKENS:,} are needed to judge a model",
            hint="Give a longer file with --data.",
        )
    return found


def torch_logits(folder: Path, texts: Sequence[Sequence[int]]) -> Iterator[Part]:
    """Of a Hugging Face folder, text by text, in 32-bit floats."""
    torch, transformers = needed("torch"), needed("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    model.eval()
    at = 0
    for ids in texts:
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].float().numpy()
        yield Part(np.arange(at, at + len(ids)), logits)
        at += len(ids)


def onnx_logits(folder: Path, texts: Sequence[Sequence[int]]) -> Iterator[Part]:
    """Of an ONNX folder, by the steps with which it is served: a token of each of some texts at a time."""
    runtime = needed("onnxruntime")
    config = genai_config.read(folder / genai_config.NAME).decoder
    if config is None:
        raise BadInput(f"{folder.name} has no decoder, so that it writes no text")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    opened = runtime.InferenceSession(
        str(folder / config.filename), options, providers=["CPUExecutionProvider"]
    )
    decoder = Decoder(opened, config, _ROWS, WINDOW_TOKENS)
    begins = np.cumsum([0, *map(len, texts)])
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
    for start in range(0, len(order), _ROWS):
        group = order[start : start + _ROWS]
        for at in range(len(texts[group[0]])):
            running = [index for index in group if len(texts[index]) > at]
            logits = decoder.decode(0, [texts[index][at] for index in running], [at] * len(running))
            yield Part(begins[running] + at, logits)


KINDS = {"torch": torch_logits, "onnx": onnx_logits}


def write_reference(
    kind: str, folder: Path, texts: Sequence[Sequence[int]], target: Path
) -> Iterator[Progress]:
    """Write the log-probabilities of every position as a file of 16-bit floats [positions, vocabulary]."""
    total = sum(map(len, texts))
    kept: Any = None
    done = 0
    for part in KINDS[kind](folder, texts):
        if kept is None:
            shape = (total, part.logits.shape[1])
            kept = np.lib.format.open_memmap(target, mode="w+", dtype=np.float16, shape=shape)
        kept[part.places] = log_probabilities(part.logits)
        done += len(part.places)
        yield Progress("reading the texts with the source", total=total, completed=done)
    kept.flush()


def compare(
    kind: str, folder: Path, texts: Sequence[Sequence[int]], reference: Path
) -> Iterator[Progress | dict[str, float]]:
    """Tell progress, and last the accuracy: mean KL divergence (nats), agreement on the likeliest word, positions."""
    known = np.load(reference, mmap_mode="r", allow_pickle=False)
    total = sum(map(len, texts))
    divergence, agreed, done = 0.0, 0, 0
    for part in KINDS[kind](folder, texts):
        if part.logits.shape[1] != known.shape[1]:
            raise BadInput(f"the candidate has {part.logits.shape[1]} words, the source {known.shape[1]}")
        each, same = apart(known[part.places].astype(np.float32), log_probabilities(part.logits))
        divergence += float(each.sum(dtype=np.float64))
        agreed += int(same.sum())
        done += len(each)
        yield Progress("reading the texts with the candidate", total=total, completed=done)
    yield {"mean_kl": divergence / done, "top1": agreed / done, "num_tokens": done}


def log_probabilities(logits: Floats) -> Floats:
    """Natural logarithms of the probabilities that logits [n, vocabulary] stand for."""
    shifted = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def apart(source: Floats, candidate: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Of log-probabilities [n, vocabulary]: the KL divergence of each position, and whether both have the same likeliest word."""
    known = log_probabilities(source)  # 16 bits have made the sum a little more or less than one
    divergence: Floats = (np.exp(known) * (known - candidate)).sum(axis=-1)
    return divergence, known.argmax(axis=-1) == candidate.argmax(axis=-1)
