"""Images in requests of both dialects."""

import base64
from typing import Any

import pytest

from hutch.api import ollama_wire, openai_wire
from hutch.core.chat import Image
from hutch.core.errors import BadInput, NotBuilt
from tests import picture_files as files

RED = base64.b64encode(files.png()).decode()
HUGE = base64.b64encode(files.png_header(1 << 30, 1 << 30)).decode()


def chat(images: list[str]) -> tuple[Image, ...]:
    body = ollama_wire.ChatBody(
        model="m", messages=[ollama_wire.ChatMessage(role="user", content="hi", images=images)]
    )
    return (body.internal().messages or ())[0].images


def openai(*parts: Any) -> tuple[str, tuple[Image, ...]]:
    body = openai_wire.ChatBody.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": list(parts)}]}
    )
    message = (body.internal().messages or ())[0]
    return message.content, message.images


def test_ollamas_images_come_with_the_message() -> None:
    assert chat([RED, RED]) == (Image("image/png", RED),) * 2
    asked = ollama_wire.GenerateBody(model="m", prompt="hi", images=[RED]).internal()
    assert (asked.messages or ())[0].images == (Image("image/png", RED),)
    assert not asked.want_context


@pytest.mark.parametrize("more", [{"raw": True}, {"context": [1, 2]}])
def test_images_do_not_go_with_a_prompt_that_is_finished(more: dict[str, Any]) -> None:
    body = ollama_wire.GenerateBody(model="m", prompt="hi", images=[RED], **more)
    with pytest.raises(NotBuilt, match="images together with raw or context"):
        body.internal()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no image"),
        ("!!!", "illegal base64"),
        ("https://example.com/a.png", "illegal base64"),
        (RED[:-5], "illegal base64"),
        (HUGE, "pixels"),
        (base64.b64encode(b"RIFF\0\0\0\0WAVEfmt ").decode(), "audio"),
        (base64.b64encode(b"ID3\4").decode(), "audio"),
    ],
)
def test_what_is_no_image_is_named(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=f"^messages.0.images.1: .*{complaint}"):
        chat([RED, text])


def test_more_images_than_a_message_may_have_are_refused() -> None:
    with pytest.raises(BadInput, match="more than 64 images"):
        chat([RED] * 65)
    with pytest.raises(BadInput, match="more than 64 images"):
        openai(*[{"type": "image_url", "image_url": RED}] * 65)


@pytest.mark.parametrize(
    "address",
    [{"url": f"data:image/png;base64,{RED}", "detail": "low"}, f"data:image/jpeg;base64,{RED}", {"url": RED}],
)
def test_openais_images_are_inside_their_address(address: Any) -> None:
    said = openai({"type": "text", "text": "What is"}, {"type": "image_url", "image_url": address})
    assert said == ("What is", (Image("image/png", RED),))


@pytest.mark.parametrize("url", ["http://169.254.169.254/x.png", "https://a/b.png", "file:///etc/passwd"])
def test_no_address_is_fetched(url: str) -> None:
    with pytest.raises(BadInput, match="image URLs are not currently supported, please use base64") as caught:
        openai({"type": "image_url", "image_url": {"url": url}})
    assert caught.value.param == "messages.0.content.0.image_url"


@pytest.mark.parametrize(
    "part", [{"type": "image_url"}, {"type": "image_url", "image_url": "data:text/html,x"}]
)
def test_a_part_without_an_image_is_refused(part: Any) -> None:
    with pytest.raises(BadInput, match=r"messages\.0\.content\.0\.image_url"):
        openai(part)
