"""The commands of Foundry Local that mean what a command of Hutch means."""

from collections.abc import Sequence

from hutch.core.errors import NotBuilt

_SAME = {
    ("model", "list"): "models list",
    ("model", "info"): "show",
    ("model", "run"): "run",
    ("model", "download"): "pull",
    ("model", "unload"): "stop",
    ("cache", "list"): "list",
    ("cache", "ls"): "list",
    ("cache", "remove"): "rm",
    ("cache", "rm"): "rm",
    ("service", "ps"): "ps",
    ("service", "start"): "serve",
}
_OWN = ("init", "models", "deploy")  # commands that Hutch has under the same name


def translated(words: Sequence[str]) -> list[str]:
    """The same in words of Hutch's. Raises NotBuilt for what Hutch cannot do yet."""
    if words[0] in _OWN:
        return list(words)
    command = _SAME.get((words[0], words[1] if len(words) > 1 else ""))
    if command is None:
        said = " ".join(words[:2])
        raise NotBuilt(f"foundry-local {said}: not built yet", hint="Run 'foundry-local --help' for what is.")
    return [*command.split(), *words[2:]]


def overview() -> str:
    """What `foundry-local --help` prints."""
    rows = (
        f"  {' '.join(pair):<15} the same as 'hutch {command}'" for pair, command in sorted(_SAME.items())
    )
    own = (f"  {command:<15} the same as 'hutch {command}'" for command in _OWN)
    return "\n".join(["Hutch, called as foundry-local. These commands work:", "", *own, *rows, "  --version"])
