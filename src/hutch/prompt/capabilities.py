"""What a model can do, judged by its file and its templates. Ollama's words."""

from hutch.formats.gguf import GGUF
from hutch.prompt.template import Template


def capabilities(
    facts: GGUF, template: Template | None = None, *, has_projector: bool = False
) -> tuple[str, ...]:
    """The capabilities of a model whose GGUF says `facts`, and whose TEMPLATE is `template`. A projector gives it eyes."""
    if facts.is_reranker:
        return ("rerank",)
    if facts.is_embedding:
        return ("embedding",)
    found = ["completion"]
    if has_projector:
        found.append("vision")
    own = chat_template(facts)
    if "tools" in own or (template is not None and template.has_tools):
        found.append("tools")
    if facts.fim is not None or (template is not None and template.has_suffix):
        found.append("insert")
    if _thinks(own) or (template is not None and template.has_thinking):
        found.append("thinking")
    return tuple(found)


def chat_template(facts: GGUF) -> str:
    """The Jinja template inside the file; empty where there is none."""
    template = facts.metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) else ""


def _thinks(template: str) -> bool:
    return "<think>" in template or "enable_thinking" in template
