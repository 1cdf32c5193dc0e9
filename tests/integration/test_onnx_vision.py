"""An ONNX model that sees, through a real server and the real ONNX Runtime GenAI: its weights are random, its colours are not."""

import base64
import io
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import onnx_files, picture_files, vision_files
from tests.conftest import Server
from tests.contract.live import GREEDY, Reply, Streaming, ask, eventually, running, serving, worker_json
from tests.integration.test_hardware import hutch

QUESTION = "What is this?"
THINKS = onnx_files.CHATML + "{% if enable_thinking %}<think>{% endif %}"
COUNT = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


RED, BLUE = (encoded(picture_files.png(28, 28, colour)) for colour in (b"\xff\0\0", b"\0\0\xff"))


def drawn(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A red picture."""
    data = io.BytesIO()
    Image.new("RGB", (28, 28), (255, 0, 0)).convert(mode).save(data, kind, **options)
    return data.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`seeing`; `templated`, with a TEMPLATE of its own; `thinking`; `blind`, a decoder alone; `growing`, whose cache is not one buffer."""
    home = tmp_path_factory.mktemp("vision")
    seeing = vision_files.write(home / "seeing")
    files = {
        "seeing": seeing,
        "templated": seeing,
        "thinking": vision_files.write(home / "thinking", template=THINKS),
        "blind": vision_files.write_blind(home / "blind"),
        "growing": vision_files.write(home / "growing", shares_buffer=False),
    }
    for name, folder in files.items():
        more = 'TEMPLATE "Q: {{ .Prompt }} A:"\n' if name == "templated" else ""
        (home / "Modelfile").write_text(f"FROM {folder}\n{more}")
        done = hutch(home, "create", name, "-f", str(home / "Modelfile"))
        assert done.returncode == 0, done.stderr
    return home / "models"


@pytest.fixture(scope="module")
def house(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("house") / "home", models) as server:
        yield server


def chat(server: Server, images: list[str], model: str = "seeing", **more: Any) -> Reply:
    message = {"role": "user", "content": QUESTION, "images": images}
    body = {"model": model, "messages": [message], "stream": False, "options": GREEDY, **more}
    return ask(server, "POST", "/api/chat", body)


def said(reply: Reply) -> str:
    assert reply.status == 200, reply.body
    return str(reply.json["message"]["content"])


def test_it_is_told_that_the_model_sees_and_who_runs_it(house: Server) -> None:
    assert said(chat(house, [])) == said(chat(house, [], "blind"))  # the same weights, in one graph
    shown = ask(house, "POST", "/api/show", {"model": "seeing"}).json
    assert "vision" in shown["capabilities"]
    assert shown["hardware"]["runner"] == "onnxruntime-genai"
    assert shown["hardware"]["reason"] == "it has parts beside its decoder: vision, embedding"
    assert running(house)["seeing:latest"]["engine"] == "onnxruntime-genai"
    assert "vision" not in ask(house, "POST", "/api/show", {"model": "blind"}).json["capabilities"]


@pytest.mark.parametrize("model", ["seeing", "templated", "growing"])
def test_what_is_said_depends_on_the_picture(house: Server, model: str) -> None:
    blind, red, blue = (chat(house, images, model) for images in ([], [RED], [BLUE]))
    assert len({said(blind), said(red), said(blue)}) == 3
    taken = red.json["prompt_eval_count"] - blind.json["prompt_eval_count"]
    assert taken >= vision_files.NUM_IMAGE_TOKENS
    assert said(chat(house, [RED], model)) == said(red)
    assert said(chat(house, [BLUE], model)) == said(blue)
    assert said(chat(house, [], model)) == said(blind)


def test_two_pictures_stand_in_their_order(house: Server) -> None:
    there, back = chat(house, [RED, BLUE]), chat(house, [BLUE, RED])
    assert said(there) != said(back)
    assert (
        there.json["prompt_eval_count"] == back.json["prompt_eval_count"] > 2 * vision_files.NUM_IMAGE_TOKENS
    )


def by_generate(server: Server, image: str) -> str:
    body = {"model": "seeing", "prompt": QUESTION, "images": [image], "stream": False, "options": GREEDY}
    reply = ask(server, "POST", "/api/generate", body)
    assert reply.status == 200, reply.body
    return str(reply.json["response"])


def by_openai(server: Server, image: str) -> str:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "text", "text": QUESTION},
    ]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 12, "temperature": 0}
    reply = ask(server, "POST", "/v1/chat/completions", {"model": "seeing", **body})
    assert reply.status == 200, reply.body
    return str(reply.json["choices"][0]["message"]["content"])


def by_anthropic(server: Server, image: str) -> str:
    source = {"type": "base64", "media_type": "image/png", "data": image}
    blocks = [{"type": "image", "source": source}, {"type": "text", "text": QUESTION}]
    body = {"messages": [{"role": "user", "content": blocks}], "max_tokens": 12, "temperature": 0}
    reply = ask(server, "POST", "/v1/messages", {"model": "seeing", **body})
    assert reply.status == 200, reply.body
    return str(reply.json["content"][0]["text"])


def by_responses(server: Server, image: str) -> str:
    parts = [
        {"type": "input_image", "image_url": f"data:image/png;base64,{image}"},
        {"type": "input_text", "text": QUESTION},
    ]
    body = {"input": [{"role": "user", "content": parts}], "max_output_tokens": 12, "temperature": 0}
    reply = ask(server, "POST", "/v1/responses", {"model": "seeing", **body})
    assert reply.status == 200, reply.body
    return str(reply.json["output"][-1]["content"][0]["text"])


@pytest.mark.parametrize("by", [by_generate, by_openai, by_anthropic, by_responses])
def test_every_dialect_shows_the_same_picture(house: Server, by: Callable[[Server, str], str]) -> None:
    red = said(chat(house, [RED]))
    assert by(house, RED)[:8] == red[:8]  # their other defaults differ
    assert by(house, RED) == by(house, RED) != by(house, BLUE)


@pytest.mark.parametrize(
    "data",
    [
        drawn("GIF"),
        drawn("BMP"),
        drawn("WEBP", lossless=True),
        drawn("PNG", "RGBA"),
        drawn("PNG", "P"),
        drawn("TIFF")[:0] or drawn("JPEG", "CMYK", quality=100, subsampling=0),
    ],
)
def test_pictures_of_every_kind_are_seen(house: Server, data: bytes) -> None:
    assert said(chat(house, [encoded(data)]))[:4] == said(chat(house, [RED]))[:4]


@pytest.mark.parametrize(
    "data",
    [
        picture_files.png(28, 28)[:60],
        picture_files.jpeg(40, 40),
        drawn("JPEG")[:400],
        picture_files.gif(9, 9),
        picture_files.webp_lossy(40, 40),
    ],
)
def test_a_broken_picture_is_counted_out_and_harms_nobody(house: Server, data: bytes) -> None:
    said(chat(house, []))
    before = running(house)["seeing:latest"]["pid"]
    reply = chat(house, [RED, encoded(data)])
    assert reply.status == 400
    assert "image 2 is damaged" in reply.error or "images.1" in reply.error
    assert running(house)["seeing:latest"]["pid"] == before


def test_a_model_of_one_graph_says_that_it_cannot_see(house: Server) -> None:
    reply = chat(house, [RED], "blind")
    assert (reply.status, reply.error) == (400, '"blind" does not support vision')


def test_what_stands_for_images_cannot_be_written(house: Server) -> None:
    message = {"role": "user", "content": f"{vision_files.PLACEHOLDER} {QUESTION}", "images": [RED]}
    reply = ask(house, "POST", "/api/chat", {"model": "seeing", "messages": [message]})
    assert reply.status == 400
    assert "<start_of_image>" in reply.error


def test_more_pictures_than_the_context_holds_are_counted(house: Server) -> None:
    reply = chat(house, [RED] * 9)
    assert reply.status == 400
    assert "2376 tokens exceed 2048" in reply.error


def test_choices_logprobs_and_formats_are_as_for_text(house: Server) -> None:
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{RED}"}}]
    body: dict[str, Any] = {
        "model": "seeing",
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 6,
        "seed": 4,
    }
    several = ask(
        house, "POST", "/v1/chat/completions", body | {"n": 3, "logprobs": True, "top_logprobs": 2}
    ).json
    texts = [choice["message"]["content"] for choice in several["choices"]]
    assert len(texts) == 3
    assert len(set(texts)) > 1
    assert all(len(choice["logprobs"]["content"]) == 6 for choice in several["choices"])
    again = ask(house, "POST", "/v1/chat/completions", body | {"n": 3}).json
    assert [choice["message"]["content"] for choice in again["choices"]] == texts
    assert isinstance(json.loads(said(chat(house, [RED], format=COUNT, options={"seed": 1})))["count"], int)


def test_thoughts_come_before_a_format_with_a_picture_too(house: Server) -> None:
    options = {"num_predict": 40, "temperature": 0}
    for image in (RED, BLUE):
        reply = chat(house, [image], "thinking", format=COUNT, think=False, options=options)
        assert reply.status == 200, reply.body
        thought = chat(house, [image], "thinking", format=COUNT, think=True, options=options)
        assert thought.status == 200, thought.body


def test_conversations_with_pictures_at_once_do_not_meet(house: Server) -> None:
    alone = {image: said(chat(house, [image])) for image in (RED, BLUE)}
    images = [RED, BLUE] * 6
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: said(chat(house, [image])), images))
    assert found == [alone[image] for image in images]


def test_an_answer_that_is_given_up_frees_its_slot(house: Server) -> None:
    message = {"role": "user", "content": QUESTION, "images": [RED]}
    body = {"model": "seeing", "messages": [message], "options": {"num_predict": 1500, "temperature": 0}}
    with Streaming(house, "/api/chat", body) as stream:
        assert next(stream.events())["message"]["content"] is not None
    place = running(house)["seeing:latest"]["socket"]
    eventually(
        lambda: not any(slot["is_processing"] for slot in worker_json(place, "/slots")), 5, "no slot is busy"
    )


def test_a_conversation_in_text_goes_on_from_another_turn(house: Server) -> None:
    def answer(model: str, *turns: str) -> str:
        messages = [
            {"role": ("user", "assistant")[index % 2], "content": turn} for index, turn in enumerate(turns)
        ]
        body = {"model": model, "messages": messages, "stream": False, "options": GREEDY}
        return said(ask(house, "POST", "/api/chat", body))

    for model in ("seeing", "growing"):
        first = answer(model, "Count to ten.")
        fresh = answer(model, "Count to ten.", first, "And back?")
        for other in ("And on?", "And back?"):  # each takes the slot back to where both are alike
            again = answer(model, "Count to ten.", first, other)
        assert again == fresh
    assert os.environ  # the server is still there
    assert running(house)
