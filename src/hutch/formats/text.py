"""Text out of bytes: UTF-8, or UTF-16 that says so."""

import codecs

from hutch.core.errors import FormatError

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def decode(data: bytes, what: str) -> str:
    """The text of a file's bytes, without a byte-order mark. Raises FormatError that begins with `what` they are."""
    mark, encoding = next(((mark, name) for mark, name in _BOMS if data.startswith(mark)), (b"", "utf-8"))
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{what} is not {encoding.upper()}: {error.reason} at byte {error.start}",
            hint="Save it as UTF-8.",
        ) from error
