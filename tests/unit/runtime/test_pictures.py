"""Images on their way to a worker."""

import base64
import io
from typing import Any

import pytest
from PIL import Image as Pillow

from hutch.core.chat import Form, Image, Message, Sampling
from hutch.core.errors import BadInput
from hutch.engines.wire import CHAT_PATH, RENDER_PATH, TEXT_PATH, with_pictures
from hutch.runtime.conversation import job_for, rendered_job, shortened, voice_of
from hutch.runtime.pictures import readable
from tests import picture_files
from tests.unit.engines.scripted import run
from tests.unit.runtime.things import ask, facts, model, user

EYES: dict[str, Any] = {"projectors": ("/b/eyes",)}


def image(data: bytes, media_type: str = "image/png") -> Image:
    return Image(media_type, base64.b64encode(data).decode())


RED = image(picture_files.png())
SEEN = Message("user", "What is this?", images=(RED, RED))


def webp() -> bytes:
    data = io.BytesIO()
    Pillow.new("RGBA", (5, 7), (9, 8, 7, 6)).save(data, "WEBP", lossless=True)
    return data.getvalue()


def test_only_what_the_engine_cannot_read_is_converted() -> None:
    async def scenario() -> None:
        plain = (user("hi"),)
        assert await readable(plain, "llama.cpp") is plain
        shown = (Message("user", "", images=(RED, image(webp(), "image/webp"))),)
        [message] = await readable(shown, "llama.cpp")
        assert message.images[0] == RED
        made = message.images[1]
        assert made.media_type == "image/png"
        assert Pillow.open(io.BytesIO(base64.b64decode(made.base64))).size == (5, 7)

    run(scenario())


def test_for_onnx_every_image_is_made_plain_and_no_larger_than_is_seen() -> None:
    async def scenario() -> None:
        jpeg, large = io.BytesIO(), io.BytesIO()
        Pillow.new("CMYK", (5, 7)).save(jpeg, "JPEG")
        Pillow.new("L", (4096, 2048)).save(large, "PNG")
        shown = (
            Message("user", "", images=(RED, image(jpeg.getvalue(), "image/jpeg"))),
            Message("user", "", images=(image(large.getvalue()),)),
        )
        made = [each for message in await readable(shown, "onnx") for each in message.images]
        opened = [Pillow.open(io.BytesIO(base64.b64decode(each.base64))) for each in made]
        assert [(each.format, each.mode) for each in opened] == [("PNG", "RGB")] * 3
        assert [each.size for each in opened] == [(8, 8), (5, 7), (2896, 1448)]
        broken = Message("user", "", images=(image(jpeg.getvalue()[:300], "image/jpeg"),))
        with pytest.raises(BadInput, match="image 3 is damaged"):
            await readable((shown[0], broken), "onnx")

    run(scenario())


@pytest.mark.parametrize(
    "bad",
    [
        image(picture_files.webp_lossy(40, 40), "image/webp"),
        image(webp()[:30], "image/webp"),
        image(picture_files.png(rows=bytes(1 << 22))),
    ],
)
def test_an_image_that_would_harm_is_refused(bad: Image) -> None:
    async def scenario() -> None:
        with pytest.raises(BadInput):
            await readable((Message("user", "", images=(bad,)),), "llama.cpp")

    run(scenario())


def test_images_go_by_the_engines_own_template_before_the_text() -> None:
    job = job_for(ask(SEEN), voice_of(model(**EYES), facts()), (SEEN,))
    assert job.path == CHAT_PATH
    first, _, text = job.body["messages"][0]["content"]
    assert first["image_url"]["url"] == f"data:image/png;base64,{RED.base64}"
    assert text == {"type": "text", "text": "What is this?"}


def test_a_template_of_the_models_own_gets_a_mark_for_each_image() -> None:
    voice = voice_of(model(template="<{{ .Prompt }}>", **EYES), facts())
    job = job_for(ask(SEEN), voice, (SEEN,))
    assert job.path == TEXT_PATH
    assert job.images == (RED, RED)
    assert job.body["prompt"] == f"<{job.mark * 2}What is this?>"
    sent = with_pictures(job.body, job.images, job.mark, "<__media__>")
    assert sent["prompt"]["prompt_string"] == "<<__media__><__media__>What is this?>"
    assert sent["prompt"]["multimodal_data"] == [RED.base64] * 2
    assert job_for(ask(SEEN), voice, (SEEN,)).mark != job.mark


def test_an_image_goes_along_where_thoughts_come_before_a_format() -> None:
    said = ask(SEEN, response_format=Form("regex", "a", "guided_regex", "start: /a/"), think=True)
    voice = voice_of(model(**EYES), facts(tokenizer__chat_template="<think>"))
    job = job_for(said, voice, (SEEN,))
    assert job.path == RENDER_PATH
    assert job.body["messages"][0]["content"] == f"{job.mark * 2}What is this?"
    then = rendered_job(said, voice, f"<user>{job.mark * 2}What is this?", job)
    assert (then.path, then.images) == (TEXT_PATH, (RED, RED))
    sent = with_pictures(then.body, then.images, then.mark, "<__media__>")
    assert sent["prompt"]["prompt_string"] == "<user><__media__><__media__>What is this?"


def test_a_model_without_a_projector_cannot_see() -> None:
    with pytest.raises(BadInput, match="does not support vision"):
        job_for(ask(SEEN), voice_of(model(), facts()), (SEEN,))


def test_an_old_picture_is_dropped_before_much_text() -> None:
    turns = (SEEN, user("x" * 4000), user("now"))
    assert shortened(turns, 3000, 2048) == turns[1:]


@pytest.mark.parametrize(
    "turns",
    [
        (Message("assistant", ""),),
        (Message("assistant", ""), Message("assistant", "")),
    ],
)
def test_empty_turns_of_an_assistant_alone_are_nothing_to_answer(turns: tuple[Message, ...]) -> None:
    with pytest.raises(BadInput, match="nothing to answer"):
        job_for(ask(*turns, sampling=Sampling()), voice_of(model(), facts()), turns)
