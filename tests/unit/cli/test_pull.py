"""What `hutch pull` takes for a name, and what for a place to get a file from."""

import pytest

from hutch.cli.pull import is_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m", False),
        ("hf.co/me/m:Q4_0", False),
        ("http://localhost:5000/me/m:t", False),
        ("https://hf.co/me/m", False),
        (f"https://h:5000/me/m@sha256:{'0' * 64}", False),
        ("https://h/me/m.gguf", True),
        ("https://h/m", True),
        ("https://hf.co/me/m/resolve/main/m.gguf", True),
        ("https://h/download/m?as=gguf", True),
        ("http://h/me/", True),
        ("pypi:p==1/m.gguf", True),
        ("./m", True),
        ("/a/b/c/d", True),
    ],
)
def test_an_address_is_a_name_where_a_registry_could_have_it(text: str, expected: bool) -> None:
    assert is_source(text) is expected
