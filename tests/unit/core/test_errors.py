"""The tree of errors."""

from collections.abc import Iterator

import pytest

from hutch.core import errors
from hutch.core.errors import BadInput, Busy, ContextExceeded, HutchError


def tree(root: type[HutchError] = HutchError) -> Iterator[type[HutchError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


@pytest.mark.parametrize("kind", tuple(tree()), ids=lambda kind: kind.__name__)
def test_every_error_stands_in_the_drawn_tree_with_its_status_and_exit_code(kind: type[HutchError]) -> None:
    (line,) = (line for line in (errors.__doc__ or "").splitlines() if line.split()[:1] == [kind.__name__])
    if "exit" in line:
        assert line.split()[-3:] == [str(kind.http_status), "exit", str(kind.exit_code)]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in tree()]
    assert len(set(codes)) == len(codes)


def test_an_error_carries_its_message_its_hint_and_its_numbers() -> None:
    error = ContextExceeded("too long", hint="Shorten it.", prompt_tokens=9, num_ctx=4)
    assert isinstance(error, BadInput)
    assert (str(error), error.message, error.hint) == ("too long", "too long", "Shorten it.")
    assert (error.prompt_tokens, error.num_ctx) == (9, 4)
    assert Busy("full", retry_after_s=7).retry_after_s == 7
