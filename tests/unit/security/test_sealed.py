"""Sealed streams: they come back as they were, for the same purpose, or not at all."""

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch.core.errors import Damaged
from hutch.security import sealed

SECRET, ABOUT = b"s" * 32, b"of anna"
PARTS = (b"head", b"a canary sings", b"", b"end")


def _sealed(parts: Sequence[bytes] = PARTS) -> bytes:
    return b"".join(sealed.seal(SECRET, ABOUT, parts))


def _unsealed(data: bytes, secret: bytes = SECRET, about: bytes = ABOUT) -> list[bytes]:
    return list(sealed.unseal(secret, about, io.BytesIO(data)))


def _pieces(data: bytes) -> list[bytes]:
    """The mark with the salt, and each part with its length."""
    pieces, at = [data[:40]], 40
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        pieces.append(data[at:end])
        at = end
    return pieces


@given(st.lists(st.binary(max_size=99), min_size=1, max_size=9))
def test_what_was_sealed_comes_back(parts: list[bytes]) -> None:
    assert _unsealed(_sealed(parts)) == parts


def test_the_largest_part_comes_back() -> None:
    part = bytes(sealed.MAX_PART_BYTES)
    assert _unsealed(_sealed([part, part])) == [part, part]


def test_nothing_of_it_can_be_read_and_no_two_are_alike() -> None:
    assert b"canary" not in _sealed()
    assert _sealed()[8:] != _sealed()[8:]


def test_every_changed_byte_is_found() -> None:
    data = _sealed()
    for at in range(len(data)):
        with pytest.raises(Damaged):
            _unsealed(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_every_missing_end_is_found() -> None:
    data = _sealed()
    for length in range(len(data)):
        with pytest.raises(Damaged):
            _unsealed(data[:length])


@pytest.mark.parametrize("order", [(0, 2, 1, 3, 4), (0, 1, 2, 4), (0, 1, 2, 3, 4, 4), (0, 1, 2, 3, 3)])
def test_parts_keep_their_places(order: Sequence[int]) -> None:
    pieces = _pieces(_sealed())
    with pytest.raises(Damaged):
        _unsealed(b"".join(pieces[at] for at in order))


def test_a_part_of_another_stream_is_none_of_this_one() -> None:
    ours, theirs = _pieces(_sealed()), _pieces(_sealed())
    with pytest.raises(Damaged):
        _unsealed(b"".join((*ours[:2], theirs[2], *ours[3:])))


@pytest.mark.parametrize("wrong", [{"secret": b"t" * 32}, {"about": b"of bert"}, {"about": b""}])
def test_another_secret_and_another_purpose_open_nothing(wrong: dict[str, bytes]) -> None:
    with pytest.raises(Damaged):
        _unsealed(_sealed(), **wrong)


def test_the_first_part_is_had_without_the_rest() -> None:
    assert next(sealed.unseal(SECRET, ABOUT, io.BytesIO(_sealed()[:-9]))) == b"head"


def test_names_tell_what_belongs_together_to_the_secrets_holder_alone() -> None:
    names = {
        sealed.name_for(SECRET, ABOUT),
        sealed.name_for(b"t" * 32, ABOUT),
        sealed.name_for(SECRET, b"of bert"),
    }
    assert len(names) == 3
    assert sealed.name_for(SECRET, ABOUT) in names
