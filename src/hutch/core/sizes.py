"""Sizes as people write them, such as `4GB` or `512MiB`."""

import re

_SIZE = re.compile(r"\s*\d*\.?\d+\s*[A-Za-z]*\s*", re.ASCII)


def whole_size(value: object) -> object:
    """The value as it is, for pydantic's ByteSize, which stops reading where it knows no further. Raises ValueError."""
    if isinstance(value, str) and not _SIZE.fullmatch(value):
        raise ValueError(f"{value[:40]!r} is no size; write one such as 4GB or 512MiB")
    return value
