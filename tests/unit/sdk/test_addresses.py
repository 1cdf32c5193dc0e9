"""The address of a server, as both clients and the command line read it."""

import json
from pathlib import Path

import pytest

from hutch.places import Address

CASES = json.loads((Path(__file__).parents[2] / "data" / "addresses.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("text", "url"), CASES.items())
def test_an_address(text: str, url: str) -> None:
    assert Address.parse(text).for_client.url == url
