"""Bytes that are to lie on a disk and say nothing there: sealed in parts with AES-256-GCM. Knows no files' names.

A sealed stream is a mark, a salt, and parts with their lengths. Each stream has a key of its own, made of the salt; the nonce of a
part is its number, and whether it is the last. So no part can be left out, moved, or taken from another stream, and each can be used
as soon as it is read. `about` says what the stream belongs to: who asks for it as something else gets nothing.
"""

import hmac
import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hutch.core.errors import Damaged

MAX_PART_BYTES = 1 << 20
_MARK = b"HUTCHSL1"
_SALT_BYTES = 32
_TAG_BYTES = 16
_LENGTH = struct.Struct("<I")
_NONCE = struct.Struct("<QI")  # the number of a part, and 1 for the last one


def seal(secret: bytes, about: bytes, parts: Iterable[bytes]) -> Iterator[bytes]:
    """A sealed stream of these parts, each of at most MAX_PART_BYTES, piece by piece."""
    salt = os.urandom(_SALT_BYTES)
    cipher = _cipher(secret, salt)
    yield _MARK + salt
    number, held = 0, b""
    for part in parts:  # one is held back, for the last one is marked
        if number:
            yield from _piece(cipher.encrypt(_NONCE.pack(number - 1, 0), held, about))
        number, held = number + 1, part
    yield from _piece(cipher.encrypt(_NONCE.pack(max(0, number - 1), 1), held, about))


def unseal(secret: bytes, about: bytes, source: BinaryIO) -> Iterator[bytes]:
    """The parts of a sealed stream. Raises Damaged at the first that is not what was sealed, and where the last one is missing."""
    begin = source.read(len(_MARK) + _SALT_BYTES)
    if len(begin) < len(_MARK) + _SALT_BYTES or not begin.startswith(_MARK):
        raise Damaged("it is no sealed stream")
    cipher = _cipher(secret, begin[len(_MARK) :])
    number, is_last = 0, False
    piece = _read_piece(source)
    while not is_last:
        if piece is None:
            raise Damaged("its end is missing")
        following = _read_piece(source)
        is_last = following is None
        try:
            yield cipher.decrypt(_NONCE.pack(number, is_last), piece, about)
        except InvalidTag as error:
            raise Damaged("it was changed, or sealed for something else or with another key") from error
        number, piece = number + 1, following


def name_for(secret: bytes, about: bytes) -> str:
    """A name that tells nothing of what it stands for to whoever does not have the secret."""
    return hmac.digest(_derived(secret, b"", b"hutch sealed names"), about, "sha256").hex()[:32]


def _cipher(secret: bytes, salt: bytes) -> AESGCM:
    return AESGCM(_derived(secret, salt, b"hutch sealed stream"))


def _derived(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, purpose).derive(secret)


def _piece(sealed: bytes) -> tuple[bytes, bytes]:
    return _LENGTH.pack(len(sealed)), sealed


def _read_piece(source: BinaryIO) -> bytes | None:
    """The next sealed part; None at the end."""
    head = source.read(_LENGTH.size)
    if not head:
        return None
    size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    if not _TAG_BYTES <= size <= MAX_PART_BYTES + _TAG_BYTES:
        raise Damaged("its parts have no such length")
    piece = source.read(size)
    if len(piece) < size:
        raise Damaged("its end is missing")
    return piece
