"""What a model can do, judged by its file and its templates. Ollama's words."""

from hutch.formats.gguf import GGUF


def capabilities(facts: GGUF, *, has_projector: bool = False) -> tuple[str, ...]:
    """The capabilities of a model whose GGUF says `facts`. A projector gives it eyes."""
    if facts.is_embedding:
        return ("embedding",)
    found = ["completion"]
    if has_projector:
        found.append("vision")
    template = chat_template(facts)
    if "tools" in template:
        found.append("tools")
    if "<think>" in template or "enable_thinking" in template:
        found.append("thinking")
    return tuple(found)


def chat_template(facts: GGUF) -> str:
    """The Jinja template inside the file; empty where there is none."""
    template = facts.metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) else ""
