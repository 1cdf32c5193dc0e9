"""A report of progress as Ollama's API writes it; the server and the command line share it."""

from typing import Any

from hutch.core.models import Progress


def progress_json(step: Progress) -> dict[str, Any]:
    """Render one step: its status, and of a blob what is known."""
    blob = {"digest": step.digest, "total": step.total, "completed": step.completed}
    return {"status": step.status, **{name: value for name, value in blob.items() if value is not None}}
