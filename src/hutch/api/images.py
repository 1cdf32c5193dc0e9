"""Images in requests: base64 in, checked before anything else sees them. No address is ever fetched."""

import base64
import binascii
import re
from collections.abc import Sequence

from hutch.core.chat import Image
from hutch.core.errors import BadInput, FormatError
from hutch.formats import images

MAX_IMAGES = 64  # of one message
_MAX_BYTES = 32 << 20
_AUDIO = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"OggS", b"fLaC")
_DATA_URI = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)


def checked_images(texts: Sequence[str] | None, field: str) -> tuple[Image, ...]:
    """The images of a field of base64 texts. Raises BadInput that says which is wrong."""
    if len(texts or ()) > MAX_IMAGES:
        raise BadInput(f"{field}: more than {MAX_IMAGES} images", param=field)
    return tuple(_checked(text, f"{field}.{index}") for index, text in enumerate(texts or ()))


def checked_address(url: str, field: str) -> Image:
    """The image that an address holds in itself. Raises BadInput for one that leads elsewhere."""
    if match := _DATA_URI.match(url):
        return _checked(url[match.end() :], field)
    if url.startswith("data:"):
        raise BadInput(f"{field}: invalid image input", hint="Write data:image/png;base64,…", param=field)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,20}:", url):
        raise BadInput(
            f"{field}: image URLs are not currently supported, please use base64 encoded data instead",
            hint="Write data:image/png;base64,…",
            param=field,
        )
    return _checked(url, field)


def _checked(text: str, field: str) -> Image:
    if len(text) > _MAX_BYTES * 4 // 3 + 4:
        raise BadInput(f"{field}: an image has at most {_MAX_BYTES >> 20} MiB", param=field)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(
            f"{field}: illegal base64 data", hint="Send the file's bytes in base64.", param=field
        ) from None
    if data.startswith(_AUDIO) or data[8:12] == b"WAVE":
        raise BadInput(f"{field}: audio is not supported", hint="Send images alone.", param=field)
    try:
        return Image(images.checked_type(data), text)
    except FormatError as error:
        raise BadInput(f"{field}: {error.message}", hint=error.hint, param=field) from None
