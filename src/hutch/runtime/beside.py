"""The files beside a model's weights: LoRA adapters, a projector for images, a draft model. Read and judged, not loaded."""

from collections.abc import Sequence

from hutch.core.errors import BadInput, FormatError
from hutch.core.models import Model
from hutch.formats import headers, lora
from hutch.formats.facts import Facts
from hutch.formats.gguf import GGUF


def read(model: Model, facts: Facts) -> Sequence[GGUF]:
    """Their headers. Raises FormatError or BadInput where one is not what it must be beside these weights."""
    if not isinstance(facts, GGUF):
        return ()  # the store lets nothing lie beside a folder
    name = model.name.short
    for what, files in (("projector", model.projectors), ("draft model", model.drafts)):
        if len(files) > 1:
            raise BadInput(f'"{name}" has {len(files)} files of a {what}, and Hutch uses one')
    found = []
    for path in model.adapters:
        found.append(headers.header(path))
        lora.check(found[-1], facts)
    for path in model.projectors:
        found.append(headers.header(path))
        if found[-1].architecture != "clip":
            raise FormatError(
                f'the projector of "{name}" is a {found[-1].architecture} file, and a clip file is needed',
                hint="Create the model again with the mmproj file that belongs to it.",
            )
    for path in model.drafts:
        found.append(headers.header(path))
        if found[-1].architecture == "clip" or found[-1].is_embedding or not found[-1].block_count:
            raise FormatError(
                f'the draft model of "{name}" is no model that writes text',
                hint="Create the model again with a small model of the same family.",
            )
    return found
