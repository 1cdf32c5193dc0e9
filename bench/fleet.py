"""The servers of a run: each is started when it is first asked, kept for the run, and ended with it."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from bench.load import Server
from bench.serve import call, loaded_row, running
from bench.servers import OF_LLAMA_SERVER, Peer, Setup, command, like
from hutch.core.errors import HutchError

_BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
    "ollama": ("/api/chat", {"messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 1}}),
}
_EMBEDDING = {"openai": "/v1/embeddings", "ollama": "/api/embed"}


class Failed(RuntimeError):
    """A server could not be started, or not load its model."""


class Fleet:
    """Starts and ends servers. What could not be started is not tried again in this run."""

    def __init__(
        self, peers: Sequence[Peer], setup: Setup, folder: Path, timeout_s: float = 120, num_idle: int = 2000
    ) -> None:
        self.timeout_s = timeout_s
        self.num_idle = num_idle  # streams that are held open at once
        self.setup = setup
        self._peers = {peer.name: peer for peer in peers}
        self._folder = folder
        self._stack = ExitStack()
        self._running: dict[tuple[str, bool], Server | str] = {}
        self._loaded: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all that was started."""
        self._stack.close()

    def server(self, peer: Peer, *, embeds: bool = False) -> Server:
        """The server with its model loaded. Raises Failed, each time for the same reason."""
        model = self.setup.model_of(peer, embeds=embeds)
        if peer.place:
            return replace(peer.place, model=model)  # the round that is not counted has it loaded
        process = (peer.name, embeds and peer.kind in OF_LLAMA_SERVER)
        if process not in self._running:
            self._running[process] = self._first(peer, embeds=embeds)
        found = self._running[process]
        if isinstance(found, str):
            raise Failed(found)
        server = replace(found, model=model)
        if (peer.name, model) not in self._loaded:
            load(server, embeds=embeds)
            self._loaded.add((peer.name, model))
        return server

    @contextmanager
    def started(
        self, peer: Peer, folder: Path, more: Mapping[str, str] | None = None, *, embeds: bool = False
    ) -> Iterator[Server]:
        """A server of this kind with nothing loaded. Raises Failed."""
        model = self.setup.model_of(peer, embeds=embeds)
        settings = {**(more or {}), **peer.settings}
        folder.mkdir(parents=True, exist_ok=True)
        try:
            flags = self._flags(peer, embeds=embeds)
            asked = command(self.setup, replace(peer, settings=settings), folder, model, flags)
        except (OSError, ValueError, RuntimeError, HutchError) as error:
            raise Failed(f"{peer.name}: {error}") from error
        with running(asked, folder / "server.out") as serving:
            yield Server(
                peer.name,
                peer.dialect,
                serving.url,
                model=model,
                pid=serving.process.pid,
                began_s=serving.began_s,
                embeds_batches=peer.kind != "yardstick",
            )

    def fresh_folder(self) -> Path:
        """An empty folder, which goes with the run."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _first(self, peer: Peer, *, embeds: bool) -> Server | str:
        try:
            if peer.kind == "worker":
                row = self._row(self._peers[peer.of], embeds=embeds)
                return Server(peer.name, peer.dialect, "http://localhost", row["socket"])
            return self._stack.enter_context(self.started(peer, self.fresh_folder(), embeds=embeds))
        except (OSError, KeyError, RuntimeError) as error:
            return str(error)

    def _flags(self, peer: Peer, *, embeds: bool) -> list[str]:
        """The flags that Hutch gives the same binary, where it runs too."""
        twin = next((each for each in self._peers.values() if each.kind == "hutch-built"), None)
        if peer.kind != "llama-server" or twin is None:
            return []
        try:
            pid = self._row(twin, embeds=embeds)["pid"]
        except Failed:
            return []
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return like(words[:-1])  # it ends with a zero

    def _row(self, peer: Peer, *, embeds: bool) -> dict[str, Any]:
        """The line of `/api/ps` for the model that this Hutch has loaded."""
        server = self.server(peer, embeds=embeds)
        port = urlsplit(server.base).port or 0
        return loaded_row(port, server.model)


def load(server: Server, *, embeds: bool = False) -> None:
    """Have a server load its model, by a short question that is not counted. Raises OSError or RuntimeError."""
    if server.socket:
        return  # a worker has nothing else
    path, body = _BODIES[server.dialect]
    if embeds:
        path, body = _EMBEDDING[server.dialect], {"input": ["a"]}
    call(urlsplit(server.base).port or 80, path, {"model": server.model, "stream": False, **body}, 300)
