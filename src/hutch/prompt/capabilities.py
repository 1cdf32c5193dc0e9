"""What a model can do, judged by its file and its templates. Ollama's words."""

import functools

from hutch.formats.facts import Facts
from hutch.prompt.template import Template

_NUM_KEPT = 64  # templates: every request asks what its model's can


def capabilities(
    facts: Facts, template: Template | None = None, *, has_projector: bool = False
) -> tuple[str, ...]:
    """The capabilities of a model whose file or folder says `facts`, and whose TEMPLATE is `template`. A projector gives it eyes."""
    if facts.is_reranker:
        return ("rerank",)
    if facts.is_embedding:
        return ("embedding",)
    found = ["completion"]
    if has_projector or facts.sees:
        found.append("vision")
    own = facts.chat_template
    if _calls(own) or (template is not None and template.has_tools):
        found.append("tools")
    if facts.fim is not None or (template is not None and template.has_suffix):
        found.append("insert")
    if _thinks(own) or (template is not None and template.has_thinking):
        found.append("thinking")
    return tuple(found)


@functools.lru_cache(_NUM_KEPT)
def _calls(template: str) -> bool:
    return "tools" in template or "tool_calls" in template  # DeepSeek's distills tell calls and results alone


@functools.lru_cache(_NUM_KEPT)
def _thinks(template: str) -> bool:
    return "<think>" in template or "enable_thinking" in template
