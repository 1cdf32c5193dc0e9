"""Whether a LoRA adapter belongs to a model: judged by both files' headers. Pure.

The engine checks the same, and says no more than that it could not load the model.
"""

from hutch.core.errors import FormatError
from hutch.formats.gguf import GGUF

_HINT = "Use the adapter with the model that it was made for."
_IGNORED = "_norm.weight"  # of what a converter writes beside the pairs, the engine passes this over
Shape = tuple[int, ...]


def check(adapter: GGUF, base: GGUF) -> None:
    """Raise FormatError where the adapter is none, or is another model's."""
    kind = adapter.metadata.get("adapter.type")
    if adapter.metadata.get("general.type") != "adapter" or kind != "lora":
        raise FormatError(f"the adapter is of type {str(kind)[:40]!r}, and only lora is known", hint=_HINT)
    if adapter.architecture != base.architecture:
        raise FormatError(
            f"the adapter is for {adapter.architecture} models, and this is {base.architecture}", hint=_HINT
        )
    shapes = {tensor.name: tensor.shape for tensor in base.tensors}
    pairs = _pairs(adapter)
    if not pairs:
        raise FormatError("the adapter changes nothing: it has no tensors", hint=_HINT)
    for name, (down, up) in pairs.items():
        if name not in shapes:
            raise FormatError(f"the adapter changes {name[:80]}, which this model does not have", hint=_HINT)
        if not _fits(down, up, shapes[name], is_embedding=name == "token_embd.weight"):
            raise FormatError(
                f"the adapter changes {name[:80]} as if it were another model's: {down} and {up} "
                f"do not make {shapes[name]}",
                hint=_HINT,
            )


def _pairs(adapter: GGUF) -> dict[str, tuple[Shape, Shape]]:
    """The shapes of each changed tensor's two factors."""
    found: dict[str, dict[str, Shape]] = {}
    for tensor in adapter.tensors:
        name, _, half = tensor.name.rpartition(".")
        if half in ("lora_a", "lora_b"):
            found.setdefault(name, {})[half] = tensor.shape
        elif not tensor.name.endswith(_IGNORED):
            raise FormatError(f"the adapter's tensor {tensor.name[:80]} is none of a LoRA", hint=_HINT)
    for name, halves in found.items():
        if len(halves) < 2:
            raise FormatError(f"the adapter has one half alone of what changes {name[:80]}", hint=_HINT)
    return {name: (halves["lora_a"], halves["lora_b"]) for name, halves in found.items()}


def _fits(down: Shape, up: Shape, base: Shape, *, is_embedding: bool) -> bool:
    if min(map(len, (down, up, base))) < 2:
        return False
    if is_embedding:  # of which the engine looks rows up: its factors stand the other way round
        return (up[1], down[1]) == (base[0], base[1])
    return (down[0], up[1]) == (base[0], base[1]) and down[1] == up[0]
