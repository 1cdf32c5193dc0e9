"""The command line's client of streams."""

import pytest

from hutch.cli.client import HttpServer
from hutch.core.errors import HutchError
from tests.scripted_http import HTML_502, Reply, scripted

SIGNS = "a\u2028b\u2029c\x85d\x0be"


def test_a_line_ends_at_a_line_feed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = f'{{"response": "{SIGNS}", "done": true}}\n'.replace("\x0b", "\\u000b").encode()
    with scripted() as script:
        monkeypatch.setenv("HUTCH_HOST", script.url)
        script.plays(Reply(200, [data[:15], data[15:]]))
        assert [piece["response"] for piece in HttpServer().stream("/api/generate", {})] == [SIGNS]
        script.plays(Reply(200, [HTML_502]))
        with pytest.raises(HutchError, match="no JSON: '<html>"):
            list(HttpServer().stream("/api/generate", {}))
