"""The program that takes text out of a PDF, from standard input to standard output as JSON.

A process of its own: a PDF can ask for any amount of memory and time, and what it gets is bounded here and by the
caller, who may end it. Imports pypdf, and is imported by nobody.
"""

import io
import json
import re
import sys

from pypdf import PdfReader
from pypdf.errors import PyPdfError

if sys.platform != "win32":
    import resource

_MAX_MEMORY_BYTES = 2 << 30
_MAX_CPU_S = 60
_MAX_PAGES = 10_000
_MAX_CHARS = 16 << 20
# Line ends and tabs stay; so do letters of all kinds, but no half of a surrogate pair, which is no letter.
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def text_of(data: bytes) -> dict[str, str]:
    """`{"text": …}`, or `{"problem": …}` that ends a sentence about the file."""
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted:
            return {"problem": "is encrypted"}
        if len(reader.pages) > _MAX_PAGES:
            return {"problem": f"has more than {_MAX_PAGES} pages"}
        pages: list[str] = []
        left = _MAX_CHARS
        for page in reader.pages:
            pages.append(_NO_TEXT.sub("", page.extract_text()))
            left -= len(pages[-1])
            if left < 0:
                return {"problem": "has too much text"}
    except PyPdfError as error:
        return {"problem": f"cannot be read as a PDF: {error}"}
    return {"text": "\n\n".join(pages).strip()}


def main() -> None:
    """Read, and write."""
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    sys.stdout.write(json.dumps(text_of(sys.stdin.buffer.read())))


if __name__ == "__main__":
    main()
