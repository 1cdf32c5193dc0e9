"""Files beside the weights, with the real engine: a LoRA adapter, a projector and images, a draft model.

The adapter and the projector hold random numbers: that they count is shown, not that they are good for anything.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hutch.core.names import ModelName
from hutch.store import layout
from tests import beside_files, picture_files
from tests.conftest import MODEL, Server
from tests.contract.live import GREEDY, Reply, ask, generate, own_models, running, serving, worker_json

MANIFEST = ModelName.parse(MODEL)
PICTURES = [
    base64.b64encode(picture_files.png(28, 28, colour)).decode() for colour in (b"\xff\0\0", b"\0\0\xff")
]


def add(models: Path, name: str, *layers: tuple[str, bytes | Path]) -> None:
    """Give a name to smollm2 with more layers: a kind, and the bytes or the blob."""
    document = json.loads(layout.manifest_path(models, MANIFEST).read_bytes())
    for kind, data in layers:
        if isinstance(data, Path):
            digest, size = data.name.replace("-", ":"), data.stat().st_size
        else:
            digest, size = f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)
            layout.blob_path(models, digest).write_bytes(data)
        media_type = f"application/vnd.ollama.image.{kind}"
        document["layers"].append({"mediaType": media_type, "digest": digest, "size": size})
    path = layout.manifest_path(models, ModelName.parse(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def weights_of(models: Path) -> Path:
    document = json.loads(layout.manifest_path(models, MANIFEST).read_bytes())
    [digest] = [each["digest"] for each in document["layers"] if each["mediaType"].endswith(".model")]
    return layout.blob_path(models, digest)


@pytest.fixture(scope="module")
def house(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("beside")
    models = own_models(models_dir, folder / "models")
    add(models, "tuned", ("adapter", beside_files.lora()))
    add(models, "strange", ("adapter", beside_files.lora(width=640)))
    add(models, "seeing", ("projector", beside_files.projector()))
    add(models, "squinting", ("projector", beside_files.projector(width=640)))
    add(
        models,
        "templated",
        ("projector", beside_files.projector()),
        ("template", b"{{ .System }} {{ .Prompt }}"),
    )
    add(models, "quick", ("draft", weights_of(models)))
    with serving(folder / "home", models, NUM_PARALLEL="1") as server:
        yield server


def chat(server: Server, model: str, images: list[str], **more: Any) -> Reply:
    message = {"role": "user", "content": "What is this?", "images": images}
    body = {"model": model, "messages": [message], "stream": False, "options": GREEDY, **more}
    return ask(server, "POST", "/api/chat", body)


def test_an_adapter_changes_what_is_said(house: Server) -> None:
    plain, tuned = generate(house).json, generate(house, "tuned").json
    assert plain["response"] != tuned["response"]
    assert tuned["eval_count"] == 12


def test_an_adapter_of_another_model_is_refused_by_the_tensor(house: Server) -> None:
    reply = generate(house, "strange")
    assert reply.status == 400
    assert "blk.0.attn_output.weight as if it were another model's" in reply.error


def test_a_picture_changes_what_is_said_and_takes_tokens(house: Server) -> None:
    blind = chat(house, "seeing", []).json
    red, blue = (chat(house, "seeing", [picture]).json for picture in PICTURES)
    assert len({reply["message"]["content"] for reply in (blind, red, blue)}) == 3
    assert red["prompt_eval_count"] >= blind["prompt_eval_count"] + 4
    assert "vision" in ask(house, "POST", "/api/show", {"model": "seeing"}).json["capabilities"]


@pytest.mark.parametrize("path", ["/api/generate", "/v1/chat/completions"])
def test_every_dialect_shows_the_same_picture(house: Server, path: str) -> None:
    said = chat(house, "seeing", PICTURES[:1]).json["message"]["content"]
    if path == "/api/generate":
        reply = generate(house, "seeing", "What is this?", images=PICTURES[:1]).json
        assert reply["response"] == said
        assert "context" not in reply
        return
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURES[0]}"}},
    ]
    body = {
        "model": "seeing",
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 12,
        "temperature": 0,
    }
    answer = ask(house, "POST", path, body).json
    assert answer["choices"][0]["message"]["content"][:8] == said[:8]  # its other defaults differ


def test_a_webp_picture_is_seen_too(house: Server) -> None:
    data = io.BytesIO()
    Image.new("RGB", (28, 28), (255, 0, 0)).save(data, "WEBP", lossless=True)
    seen = chat(house, "seeing", [base64.b64encode(data.getvalue()).decode()]).json
    assert seen["message"] == chat(house, "seeing", PICTURES[:1]).json["message"]


def test_a_model_with_a_template_of_its_own_sees(house: Server) -> None:
    blind = chat(house, "templated", []).json
    red, blue = (chat(house, "templated", [picture]).json for picture in PICTURES)
    assert len({reply["message"]["content"] for reply in (blind, red, blue)}) == 3


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (picture_files.png()[:60], "image"),
        (picture_files.jpeg(40, 40), "image"),
        (picture_files.webp_lossy(40, 40), "image 1 is damaged"),
        (picture_files.png(rows=bytes(1 << 24)), "unpacks to far more"),
    ],
)
def test_a_broken_picture_is_the_senders_fault_and_harms_nobody(
    house: Server, data: bytes, complaint: str
) -> None:
    before = running(house)["seeing:latest"]["pid"]
    reply = chat(house, "seeing", [base64.b64encode(data).decode()])
    assert reply.status == 400
    assert complaint in reply.error
    assert running(house)["seeing:latest"]["pid"] == before


def test_a_model_without_a_projector_says_that_it_cannot_see(house: Server) -> None:
    reply = chat(house, MODEL, PICTURES[:1])
    assert (reply.status, reply.error) == (400, '"smollm2:135m" does not support vision')


def test_a_projector_of_another_model_is_an_error_that_says_so(house: Server) -> None:
    reply = chat(house, "squinting", PICTURES[:1])
    assert reply.status == 502
    assert "mmproj" in reply.error or "n_embd" in reply.error


def test_a_draft_changes_the_speed_and_not_the_words(house: Server) -> None:
    plain, quick = generate(house).json, generate(house, "quick").json
    assert quick["response"] == plain["response"]
    slots = worker_json(running(house)["quick:latest"]["socket"], "/slots")
    assert slots[0]["speculative"]
    generate(house, "quick", options={**GREEDY, "draft_num_predict": 0})
    assert not worker_json(running(house)["quick:latest"]["socket"], "/slots")[0]["speculative"]


def test_an_answer_of_no_tokens_has_none(house: Server) -> None:
    reply = generate(house, options={"num_predict": 0}).json
    assert (reply["response"], reply["done_reason"]) == ("", "length")
    assert "eval_count" not in reply
    assert reply["prompt_eval_count"] > 0
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 0}
    answer = ask(house, "POST", "/v1/chat/completions", body).json
    assert (answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]) == (
        "",
        "length",
    )
    assert answer["usage"]["completion_tokens"] == 0


def test_nothing_to_answer_is_the_senders_fault(house: Server) -> None:
    body = {"model": MODEL, "messages": [{"role": "assistant", "content": ""}], "stream": False}
    assert ask(house, "POST", "/api/chat", body).status == 400
    assert ask(house, "POST", "/v1/chat/completions", body).status == 400


def test_a_context_is_told_as_the_engine_has_it(house: Server) -> None:
    generate(house, options={**GREEDY, "num_ctx": 100})
    assert running(house)[MODEL]["context_length"] >= 256
