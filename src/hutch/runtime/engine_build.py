"""Which build of llama.cpp a plan is for: what was saved or measured with one holds for no other."""

from importlib import metadata
from pathlib import Path


def engine_build(binary: str) -> str:
    """The build of this llama-server, or of the engine that comes with Hutch. Raises OSError where the binary is gone."""
    if not binary:
        return f"xllamacpp {metadata.version('xllamacpp')}"
    info = Path(binary).stat()
    return f"{binary} {info.st_size} {info.st_mtime_ns}"
