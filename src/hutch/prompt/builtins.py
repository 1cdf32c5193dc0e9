"""The names that RENDERER and PARSER may say: code inside Ollama. Hutch has none of it and goes by templates."""

from hutch.core.errors import BadInput

_BOTH = (
    "cogito cohere functiongemma gemma4 glimmer glm-4.7 glm-ocr laguna lfm2 lfm2-thinking nemotron-3-nano "
    "nemotron-3.5-nano olmo3 olmo3-think ornith poolside-v1 qwen3-coder qwen3-vl-instruct qwen3-vl-thinking qwen3.5"
)
_RENDERERS = "deepseek3.1 gemma4-large gemma4-small olmo3-32b-think olmo3.1 qwen3.8"
_PARSERS = "deepseek3 gemma4-no-thinking harmony ministral passthrough qwen3 qwen3-thinking"
_KNOWN = {
    "renderer": frozenset((*_BOTH.split(), *_RENDERERS.split())),
    "parser": frozenset((*_BOTH.split(), *_PARSERS.split())),
}


def check(kind: str, name: str) -> None:
    """Raise BadInput where Ollama has no renderer or parser (`kind`) of that name. An empty name takes the base's away."""
    if name and name not in _KNOWN[kind]:
        raise BadInput(
            f"{kind}: '{name[:64]}' is not known",
            hint=f"Known are: {', '.join(sorted(_KNOWN[kind]))}.",
            param=kind,
        )


def warning(kind: str, name: str) -> str:
    """What a person should know who makes a model with such a name."""
    instead = (
        "the template inside the model's file makes its prompts, or TEMPLATE where it has none"
        if kind == "renderer"
        else "answers are read by the model's template"
    )
    return f"warning: {kind} {name} is kept for Ollama; in Hutch {instead}"
