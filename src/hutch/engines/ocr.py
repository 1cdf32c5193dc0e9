"""Reads the text in an image: `python -m hutch.engines.ocr`, from standard input to output.

A process of its own, because it runs models, and the image comes from anywhere. It answers with JSON: `lines`, or `absent`
where the library is not installed, or `lacking` where it is and cannot be used.
"""

import contextlib
import importlib
import json
import sys
from typing import Any

from hutch.engines import picture

_WORTHLESS = 0.0  # every line is told with its confidence


def main() -> None:
    """Read one image."""
    with contextlib.redirect_stdout(sys.stderr):  # where the library logs
        answer = _answer(sys.stdin.buffer.read())
    sys.stdout.write(json.dumps(answer))


def _answer(data: bytes) -> dict[str, Any]:
    try:
        library = importlib.import_module("rapidocr_onnxruntime")
    except ModuleNotFoundError as error:
        return {"absent": str(error)}
    except ImportError as error:  # of a library of the system
        return {"lacking": str(error)}
    pixels = importlib.import_module("numpy").asarray(picture.on_white(picture.opened(data)))
    found, _ = library.RapidOCR(text_score=_WORTHLESS)(pixels[:, :, ::-1])
    return {
        "lines": [
            {
                "text": text,
                "confidence": round(float(score), 4),
                "box": [[round(float(x)), round(float(y))] for x, y in box],
            }
            for box, text, score in found or ()
        ]
    }


if __name__ == "__main__":
    main()
