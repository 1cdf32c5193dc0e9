"""Plain chat templates are rendered without the engine, to the same prompt."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hutch.core.chat import Message
from hutch.core.names import ModelName
from hutch.formats import headers
from hutch.prompt.jinja import ChatTemplate, plain
from hutch.store.store import ModelStore
from hutch.store.wanted import Catalog
from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.live import generate, running, worker_json

pytestmark = EVERY_ENGINE
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
TALKS = st.lists(
    st.builds(Message, st.sampled_from(("system", "user", "assistant")), TEXTS), min_size=1, max_size=5
).filter(lambda talk: talk[-1].role != "assistant")


@pytest.fixture(scope="session")
def template(models_dir: Path) -> ChatTemplate:
    """The chat template of the real model."""
    store = ModelStore(models_dir, lambda: Catalog({}))
    found = plain(headers.facts(store.open(ModelName.parse(MODEL))).chat_template)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def worker(server: Server) -> str:
    """The socket of the model's worker."""
    assert generate(server, options={"num_predict": 1}).status == 200
    return str(running(server)[MODEL]["socket"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(talk=TALKS)
def test_a_plain_template_makes_the_prompt_that_the_engine_makes(
    template: ChatTemplate, worker: str, talk: list[Message]
) -> None:
    said = [{"role": message.role, "content": message.content} for message in talk]
    assert template.render(talk) == worker_json(worker, "/apply-template", {"messages": said})["prompt"]
