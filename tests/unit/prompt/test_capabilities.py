"""What a model can do, by its file."""

import pytest

from hutch.formats.gguf import GGUF
from hutch.prompt.capabilities import capabilities
from tests.unit.runtime.things import onnx_facts


def facts(**metadata: object) -> GGUF:
    named = {"general.architecture": "llama"} | {
        key.replace("__", "."): value for key, value in metadata.items()
    }
    return GGUF(3, named, (), 1)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (facts(), ("completion",)),
        (facts(tokenizer__chat_template="{{ messages }}"), ("completion",)),
        (facts(tokenizer__chat_template="{% if tools %}"), ("completion", "tools")),
        (facts(tokenizer__chat_template="{{ m['tool_calls'] }}"), ("completion", "tools")),
        (facts(tokenizer__chat_template="<think>"), ("completion", "thinking")),
        (
            facts(tokenizer__chat_template="{{ tools }}{{ enable_thinking }}"),
            ("completion", "tools", "thinking"),
        ),
        (facts(tokenizer__chat_template=("tools",)), ("completion",)),
        (facts(general__architecture="bert"), ("embedding",)),
        (facts(general__architecture="nomic-bert", tokenizer__chat_template="tools"), ("embedding",)),
        (facts(llama__pooling_type=1), ("embedding",)),
    ],
)
def test_capabilities_are_judged_by_the_file(given: GGUF, found: tuple[str, ...]) -> None:
    assert capabilities(given) == found


def test_some_folders_of_onnx_see_by_themselves() -> None:
    assert "vision" in capabilities(onnx_facts(sees=True))
    assert "vision" not in capabilities(onnx_facts())


def test_a_projector_gives_eyes_to_a_model_that_writes() -> None:
    assert capabilities(facts(), has_projector=True) == ("completion", "vision")
    assert capabilities(facts(general__architecture="bert"), has_projector=True) == ("embedding",)


def test_a_file_without_a_template_has_an_empty_one() -> None:
    assert facts().chat_template == ""
    assert facts(tokenizer__chat_template=7).chat_template == ""
