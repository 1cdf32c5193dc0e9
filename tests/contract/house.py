"""The front over a backend that remembers what it was asked for."""

from typing import Any

from starlette.testclient import TestClient

from hutch.core.chat import GenerateRequest
from tests.fakes import FakeBackend


class Front:
    """The front, and what its backend was asked for last."""

    def __init__(self, client: TestClient, backend: FakeBackend) -> None:
        self.client = client
        self.backend = backend

    def asks(self, path: str, **body: Any) -> GenerateRequest:
        """The internal request of this body."""
        reply = self.client.post(path, json={"model": "tiny", "stream": False, **body})
        assert reply.status_code == 200, reply.text
        request = self.backend.seen[-1]
        assert isinstance(request, GenerateRequest)
        return request

    def post(self, path: str, body: Any) -> Any:
        """The JSON of a reply."""
        return self.client.post(path, json={"model": "tiny", **body}).json()

    def refuses(self, path: str, **body: Any) -> str:
        """The text of a 400."""
        count = len(self.backend.seen)
        reply = self.client.post(path, json={"model": "tiny", "stream": False, **body})
        assert reply.status_code == 400, reply.text
        assert len(self.backend.seen) == count
        return reply.text
