"""A source: a GGUF file behind an https address; http on this machine, or where the user insists."""

from collections.abc import Generator

import httpx2

from hutch.core.models import Progress
from hutch.store import download
from hutch.store.blobs import Blobs
from hutch.store.download import Download, Patience, Remote
from hutch.store.wanted import Fetched, Wanted

PATIENCE = Patience()


def fetch(wanted: Wanted, blobs: Blobs, *, insecure: bool) -> Generator[Progress, None, Fetched]:
    """Download the file. Raises SourceFailed or NoRoom."""
    remote = Remote(
        wanted.location,
        wanted.digest,
        max_bytes=wanted.size_bytes or download.MAX_FILE_BYTES,
        may_be_plain=insecure,
    )
    with httpx2.Client() as client, Download(client, remote, blobs, PATIENCE) as running:
        yield from running.run()
        return Fetched(running.partial.become_blob(wanted.digest), running.partial.size_bytes)
