"""The texts on which models are compared: those that come with Hutch, or a file of one's own."""

from importlib.resources import files
from pathlib import Path

from hutch.core.errors import BadInput

WINDOW_TOKENS = 512
MIN_TOKENS = 4_000  # below it the figures depend on the text more than on the model
MAX_TOKENS = 16_384
_MAX_FILE_BYTES = 8 << 20
_BETWEEN = "\n=====\n"


def built_in() -> tuple[str, ...]:
    """English prose, talk, letters and sums, code of four kinds, and three other languages: some 5,000 tokens."""
    text = (files("hutch.optimize") / "passages.txt").read_text(encoding="utf-8")
    return tuple(passage.strip("\n") for passage in text.split(_BETWEEN))


def of_file(path: Path) -> tuple[str, ...]:
    """The text of a file, which is cut into windows later. Raises BadInput for what is no text."""
    try:
        size_bytes = path.stat().st_size
        if not path.is_file() or size_bytes > _MAX_FILE_BYTES:
            raise BadInput(
                f"{path} is no text file of at most {_MAX_FILE_BYTES >> 20} MiB", hint="Name another."
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read: {error.strerror}", hint="Name a text file with --data."
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text", hint="Convert it, for instance with iconv.") from error
    if (
        len(text.encode()) < MIN_TOKENS
    ):  # a token has a byte at least; they are counted once there is a tokenizer
        raise BadInput(
            f"{path} is too short: {MIN_TOKENS:,} tokens are needed to judge a model",
            hint="Name a longer text.",
        )
    return (text,)
