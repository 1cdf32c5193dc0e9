"""Tasks on the real engines: the form of an answer is sure, whatever the model."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hutch import Client
from hutch.core.errors import BadInput, Unanswered
from tests.conftest import EVERY_ENGINE, MODEL, Server
from tests.contract.test_tasks import png

LABELS = ["praise", "complaint", "question"]


@pytest.fixture(scope="module")
def client(serve: Callable[..., Server], models_dir: Path) -> Iterator[Client]:
    """A client of a server with this engine's model."""
    with Client(serve(models_dir).url) as it:
        yield it


@EVERY_ENGINE
def test_a_label_is_one_of_those_that_were_given(client: Client) -> None:
    done = client.task("classify", model=MODEL, text="Where is my parcel?", labels=LABELS)
    assert done["label"] in LABELS
    assert done.usage.completion_tokens > 0
    again = client.task("classify", model=MODEL, text="Where is my parcel?", labels=LABELS)
    assert again["label"] == done["label"]


@EVERY_ENGINE
def test_fields_are_those_that_were_asked_for_or_there_is_no_answer(client: Client) -> None:
    with suppress(Unanswered):  # the model of random weights may write on and on
        done = client.task("extract", model=MODEL, text="Anna is 34.", fields=["name", "age"])
        assert set(done["data"]) == {"name", "age"}
        assert all(value is None or isinstance(value, str) for value in done["data"].values())


@EVERY_ENGINE
def test_a_model_that_cannot_see_says_so(client: Client) -> None:
    with pytest.raises(BadInput, match="does not support vision"):
        client.task("describe", model=MODEL, image=png())


@EVERY_ENGINE
def test_a_text_that_is_too_long_is_refused(client: Client) -> None:
    with pytest.raises(BadInput, match="too long for the model's context") as caught:
        client.task("summarize", model=MODEL, text="many words " * 9000)
    assert "num_ctx" in caught.value.hint
