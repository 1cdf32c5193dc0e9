"""Tasks over a backend that says what it is told to: what a model is asked, what becomes of its answer, and what is refused."""

import asyncio
import base64
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont
from starlette.testclient import TestClient

from hutch.api import tasks
from hutch.api import tasks_wire as wire
from hutch.core.access import Principal
from hutch.core.chat import Chunk, GenerateRequest, Sampling
from hutch.core.errors import ContextExceeded
from hutch.tasks import pictures
from hutch.tasks.line import Line
from tests.contract.test_golden import front
from tests.fakes import USAGE, FakeBackend

TEXT = "Anna Berg pays 5 EUR to anna@example.org."
ALWAYS = ("summarize", "rewrite", "translate", "classify", "extract", "table")
NEEDED: dict[str, Any] = {
    "translate": {"to": "French"},
    "classify": {"labels": ["a", "b"]},
    "extract": {"fields": ["a"]},
    "table": {"columns": ["a"]},
}


@dataclass
class Scripted(FakeBackend):
    """Answers with these texts, one after another."""

    says: list[str] = field(default_factory=list)
    finish: Any = "stop"

    async def generate(self, request: GenerateRequest, who: Principal) -> AsyncGenerator[Chunk, None]:
        """The next text, in two pieces."""
        if request.model.model == "small":
            raise ContextExceeded("9 tokens exceed 8", prompt_tokens=9, num_ctx=8)
        self.seen.append(request)
        text = self.says.pop(0)
        yield Chunk(text=text[:3])
        yield Chunk(text=text[3:])
        yield Chunk(finish_reason=self.finish, usage=USAGE)


@dataclass
class House:
    """The front, and the script behind it."""

    client: TestClient
    backend: Scripted

    def post(self, task: str, says: Any = (), **body: Any) -> tuple[int, Any]:
        """The status and the JSON of a task; `says` are the model's answers."""
        self.backend.says = [each if isinstance(each, str) else json.dumps(each) for each in says]
        reply = self.client.post(f"/api/tasks/{task}", json=body)
        return reply.status_code, reply.json()

    def gives(self, task: str, *says: Any, **body: Any) -> Any:
        """What a task gives that succeeds."""
        status, told = self.post(task, says, model="tiny", text=TEXT, **body)
        assert status == 200, told
        return told

    @property
    def asked(self) -> GenerateRequest:
        """What the model was asked last."""
        request = self.backend.seen[-1]
        assert isinstance(request, GenerateRequest)
        return request


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    backend = Scripted()
    folder = tmp_path_factory.mktemp("front")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUTCH_HOME", str(folder))
        with front(folder, backend) as client:
            yield House(client, backend)


@pytest.fixture
def house(shared: House) -> House:
    shared.backend.finish = "stop"
    return shared


def test_every_task_is_listed_with_what_it_takes_and_gives(house: House) -> None:
    tasks = {each["name"]: each for each in house.client.get("/api/tasks").json()["tasks"]}
    assert set(tasks) == {*ALWAYS, "redact", "describe", "ocr", "enhance"}
    assert {name for name, each in tasks.items() if each["asks_model"] == "always"} == {*ALWAYS, "describe"}
    assert tasks["summarize"]["input"]["properties"]["max_words"]["maximum"] == 2000
    assert "summary" in tasks["summarize"]["output"]["required"]
    paths = house.client.get("/openapi.json").json()["paths"]
    assert {f"/api/tasks/{name}" for name in tasks} <= set(paths)


def test_the_list_of_tasks_is_made_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first = house.client.get("/api/tasks").json()
    monkeypatch.setattr(wire.TaskBody, "model_json_schema", None)
    assert house.client.get("/api/tasks").json() == first


def test_a_model_is_asked_without_chance_and_held_to_a_schema(house: House) -> None:
    told = house.gives("summarize", {"summary": "Anna pays."}, max_words=9, language="German", keep_alive=7)
    assert told == {
        "summary": "Anna pays.",
        "model": "tiny:latest",
        "prompt_eval_count": 11,
        "eval_count": 3,
        "total_duration": 10**9,
    }
    system, user = house.asked.messages or ()
    assert (system.role, user.role) == ("system", "user")
    assert user.content.endswith(f"\n\n{TEXT}")
    assert "9 words, in German" in user.content
    assert house.asked.sampling == Sampling(temperature=0.0, max_tokens=118)
    assert house.asked.keep_alive_s == 7
    assert not house.asked.truncate
    assert isinstance(house.asked.response_format, dict)
    assert house.asked.response_format["required"] == ["summary"]


def test_options_count_before_the_tasks_own(house: House) -> None:
    house.gives("rewrite", {"text": "x"}, options={"temperature": 0.5, "num_predict": 9, "num_ctx": 512})
    assert house.asked.sampling == Sampling(temperature=0.5, max_tokens=9)
    assert house.asked.load.num_ctx == 512


@pytest.mark.parametrize(
    ("task", "body", "answer", "expected"),
    [
        ("rewrite", {"style": "formal"}, {"text": "Dear"}, {"text": "Dear"}),
        ("translate", {"to": "French", "source": "English"}, {"text": "Oui"}, {"text": "Oui"}),
        ("classify", {"labels": ["a", "b", "a"]}, {"label": "b"}, {"label": "b"}),
        ("extract", {"fields": ["who", "sum"]}, {"who": "Anna", "sum": None}, {"data": {"who": "Anna", "sum": None}}),
        ("extract", {"fields": {"who": "a person"}}, {"who": "Anna"}, {"data": {"who": "Anna"}}),
        ("extract", {"schema": {"type": "array"}}, [1], {"data": [1]}),
        (
            "table",
            {"columns": ["b", "a"]},
            {"rows": [{"a": "1", "b": None}]},
            {"columns": ["b", "a"], "rows": [[None, "1"]]},
        ),
    ],
)  # fmt: skip
def test_what_an_answer_becomes(house: House, task: str, body: Any, answer: Any, expected: Any) -> None:
    told = house.gives(task, answer, **body)
    assert {name: told[name] for name in expected} == expected


def test_labels_are_all_that_can_be_answered(house: House) -> None:
    house.gives("classify", {"label": "b"}, labels=["a", "b", "a"])
    form: Any = house.asked.response_format
    assert form["properties"]["label"]["enum"] == ["a", "b"]


def test_a_table_without_columns_asks_for_them_first(house: House) -> None:
    told = house.gives(
        "table", {"columns": ["who", " sum", "who", ""]}, {"rows": [{"who": "Anna", "sum": "5"}]}
    )
    assert told["columns"] == ["who", "sum"]
    assert told["rows"] == [["Anna", "5"]]
    assert told["eval_count"] == 6  # of both
    assert house.post("table", [{"columns": [" "]}], model="tiny", text=TEXT)[0] == 422


def test_redaction_by_rules_asks_no_model(house: House) -> None:
    status, told = house.post("redact", text=TEXT)
    assert (status, told["text"]) == (200, "Anna Berg pays 5 EUR to [EMAIL].")
    assert told["found"] == [{"kind": "email", "start": 24, "end": 40, "by": "rule"}]
    assert house.post("redact", text=TEXT, rules=["card"])[1]["text"] == TEXT


def test_too_many_redactions_wait(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_REDACTIONS", Line(0, 0, "redactions"))
    reply = house.client.post("/api/tasks/redact", json={"text": TEXT})
    assert (reply.status_code, reply.json()["code"]) == (503, "busy")
    assert reply.headers["Retry-After"] == "1"


def test_redaction_of_names_takes_what_stands_in_the_text(house: House) -> None:
    says = {"found": [{"kind": "person", "text": "Anna Berg"}, {"kind": "person", "text": "Bob"}]}
    told = house.gives("redact", says, names=["person"])
    assert told["text"] == "[PERSON] pays 5 EUR to [EMAIL]."
    assert [each["by"] for each in told["found"]] == ["model", "rule"]
    assert told["eval_count"] == 3


def test_more_names_than_a_model_may_list_are_not_passed_over(house: House) -> None:
    says = {"found": [{"kind": "person", "text": "Anna"}] * 100}
    status, told = house.post("redact", [says], model="tiny", text=TEXT, names=["person"])
    assert (status, told["code"], told["hint"]) == (422, "unanswered", "Send it in parts.")


def test_a_picture_is_shown_to_the_model(house: House) -> None:
    status, told = house.post(
        "describe", [{"description": "White."}], model="tiny", image=png(), prompt="Why?"
    )
    assert (status, told["description"]) == (200, "White.")
    _, message = house.asked.messages or ()
    assert (message.content, len(message.images)) == ("Why?", 1)


@pytest.mark.parametrize("task", ALWAYS)
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_is_refused(house: House, task: str, text: str) -> None:
    status, told = house.post(task, model="tiny", text=text, **NEEDED.get(task, {}))
    assert (status, told["error"]) == (400, "text: it is empty")


@pytest.mark.parametrize(
    ("task", "body", "said"),
    [
        ("summarize", {"text": None}, "text: "),
        ("summarize", {"max_words": 0}, "max_words: "),
        ("summarize", {"max_words": "9"}, "max_words: "),
        ("summarize", {"max_word": 9}, "max_word: "),
        ("summarize", {"text": "a" * (256 * 1024 + 1)}, "text: "),
        ("summarize", {"model": None}, "model: "),
        ("summarize", {"options": {"num_ctx": "x"}}, "num_ctx"),
        ("rewrite", {"style": " "}, "style: "),
        ("translate", {}, "to: "),
        ("classify", {}, "labels: "),
        ("classify", {"labels": []}, "labels: at least two"),
        ("classify", {"labels": ["a", "a"]}, "labels: at least two"),
        ("classify", {"labels": ["a", ""]}, "labels.1: "),
        ("classify", {"labels": [str(i) for i in range(300)]}, "labels: "),
        ("extract", {}, "either fields or schema"),
        ("extract", {"fields": []}, "either fields or schema"),
        ("extract", {"fields": ["a"], "schema": {"type": "object"}}, "either fields or schema"),
        ("extract", {"schema": {"type": "array", "maxItems": 10**9}}, "schema: maxItems"),
        ("table", {"columns": []}, "columns: "),
        ("table", {"columns": ["a", "a"]}, "columns: a name is there twice"),
        ("redact", {"rules": ["ssn"]}, "rules.0: "),
        ("redact", {"rules": []}, "rules and names are both empty"),
        ("redact", {"names": ["person"], "model": None}, "names: they are found by a model"),
    ],
)
def test_what_is_wrong_is_named(house: House, task: str, body: dict[str, Any], said: str) -> None:
    status, told = house.post(task, **{"model": "tiny", "text": TEXT} | body)
    assert status == 400, told
    assert said in told["error"]


def test_a_model_is_needed_and_has_to_be_there(house: House) -> None:
    assert house.post("summarize", text=TEXT)[0] == 400
    assert house.post("summarize", text=TEXT, model="")[0] == 404


def test_there_is_no_other_task(house: House) -> None:
    status, told = house.post("sing", text=TEXT)
    assert (status, told["code"]) == (404, "not_found")
    assert "summarize" in told["hint"]


def test_a_text_longer_than_the_context_is_refused_and_not_cut(house: House) -> None:
    status, told = house.post("summarize", model="small", text=TEXT)
    assert (status, told["code"]) == (400, "context_length_exceeded")
    assert "num_ctx" in told["hint"]


@pytest.mark.parametrize("answer", ['{"summary": "Anna p', "{}", "[]", "Sure!", '"x"', ""])
def test_what_is_no_whole_answer_is_none(house: House, answer: str) -> None:
    status, told = house.post("summarize", [answer], model="tiny", text=TEXT)
    assert (status, told["code"]) == (422, "unanswered")
    house.backend.finish = "length"
    _, told = house.post("summarize", [answer], model="tiny", text=TEXT)
    assert "did not come to the end" in told["error"]


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("summarize", r'{"summary": "Anna \ud83d"}'),
        ("extract", '{"a": 1e999}'),
        ("extract", '{"a": NaN}'),
        ("extract", '{"a": ' + "[" * 100_000),
        ("redact", r'{"found": [{"kind": "person", "text": "\ud83d"}]}'),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_on_is_no_answer(house: House, task: str, answer: str) -> None:
    needed = NEEDED.get(task, {"names": ["person"]} if task == "redact" else {})
    status, told = house.post(task, [answer], model="tiny", text=TEXT, **needed)
    assert (status, told["code"]) == (422, "unanswered")


def png(size: tuple[int, int] = (300, 60), text: str = "", mode: str = "RGB") -> str:
    """A white picture with a line of text, in base64."""
    image = Image.new(mode, size, "white")
    ImageDraw.Draw(image).text((10, 10), text, font=ImageFont.load_default(28), fill="black")
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def opened(told: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(told["image"])))


@pytest.mark.parametrize("task", ["describe", "ocr", "enhance"])
@pytest.mark.parametrize(
    "image",
    ["", "no base64!", "bm8gaW1hZ2U=", "http://127.0.0.1/x.png", "data:text/plain;base64,eA=="],
)
def test_what_is_no_image_is_refused(house: House, task: str, image: str) -> None:
    body = {"model": "tiny"} if task == "describe" else {}
    status, told = house.post(task, image=image, **body)
    assert status == 400, told
    assert told["error"].startswith("image: ")


HAS_OCR = importlib.util.find_spec("rapidocr_onnxruntime") is not None


@pytest.mark.parametrize("task", ["ocr", "enhance"] if HAS_OCR else ["enhance"])
def test_a_damaged_image_is_refused(house: House, task: str) -> None:
    data = base64.b64decode(png())
    jpeg = b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x10\x00\x10" + data
    for bad in (jpeg, data[:45]):
        status, told = house.post(task, image=base64.b64encode(bad).decode())
        assert (status, told["code"]) == (400, "bad_input")
        assert "damaged" in told["error"]


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({}, (300, 60)),
        ({"width": 150}, (150, 30)),
        ({"height": 30}, (150, 30)),
        ({"width": 10, "height": 10}, (10, 10)),
        ({"scale": 2.0}, (600, 120)),
        ({"scale": 0.01}, (3, 1)),
    ],
)
def test_a_picture_gets_the_size_that_was_asked_for(house: House, wanted: Any, size: tuple[int, int]) -> None:
    status, told = house.post("enhance", image=png(), **wanted)
    assert status == 200, told
    assert (told["width"], told["height"]) == size == opened(told).size


def test_noise_goes_and_what_is_transparent_stays_so(house: House) -> None:
    image = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    image.putpixel((20, 20), (0, 0, 0, 255))
    data = io.BytesIO()
    image.save(data, "PNG")
    body = {"image": base64.b64encode(data.getvalue()).decode(), "denoise": True}
    made = opened(house.post("enhance", **body)[1]).convert("RGBA")
    assert made.getpixel((20, 20)) == (255, 255, 255, 255)
    assert made.getpixel((0, 0)) == (255, 255, 255, 0)
    assert (
        house.post("enhance", **body, format="jpeg", sharpen=True, contrast=True)[1]["media_type"]
        == "image/jpeg"
    )


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"scale": 2, "width": 9}, "scale: width or height says it already"),
        ({"scale": 0}, "scale: "),
        ({"width": 0}, "width: "),
        ({"width": 16000, "height": 16000}, "16000 × 16000 pixels"),
        ({"height": 16383}, "81915 × 16383 pixels"),
        ({"format": "bmp"}, "format: "),
        ({"sharp": True}, "sharp: "),
    ],
)
def test_what_cannot_be_made_of_a_picture_is_named(house: House, wanted: Any, said: str) -> None:
    status, told = house.post("enhance", image=png(), **wanted)
    assert status == 400, told
    assert said in told["error"]


def test_text_in_a_picture_is_read(house: House) -> None:
    pytest.importorskip(
        "rapidocr_onnxruntime", reason="the extra `ocr` is not installed", exc_type=ImportError
    )
    status, told = house.post("ocr", image=png(text="Invoice 2041"))
    assert status == 200, told
    assert told["text"].replace(" ", "") == "Invoice2041"  # it often misses narrow spaces
    assert len(told["lines"][0]["box"]) == 4
    assert told["lines"][0]["confidence"] > 0.5
    assert house.post("ocr", image=png())[1] == {"text": "", "lines": []}


def test_what_stands_side_by_side_is_one_row(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def line(text: str, x: int, y: int) -> Any:
        return {"text": text, "confidence": 1.0, "box": [[x, y], [x + 50, y], [x + 50, y + 20], [x, y + 20]]}

    async def done_at_once(module: str, data: bytes, within_s: float) -> bytes:
        lines = [line("2041", 90, 13), line("Total", 10, 40), line("Invoice", 10, 10), line("5", 99, 44)]
        return json.dumps({"lines": lines}).encode()

    monkeypatch.setattr(pictures, "done_at_once", done_at_once)
    assert house.post("ocr", image=png())[1]["text"] == "Invoice 2041\nTotal 5"


def with_library(monkeypatch: pytest.MonkeyPatch, folder: Path, library: str) -> None:
    """OCR finds a module that stands in for its library."""
    (folder / "rapidocr_onnxruntime.py").write_text(library)

    async def done_at_once(module: str, data: bytes, within_s: float) -> bytes | None:
        script = f"import sys; sys.path.insert(0, {str(folder)!r}); import {module} as it; it.main()"
        words = [sys.executable, "-c", script]
        done = await asyncio.to_thread(
            subprocess.run, words, input=data, capture_output=True, check=False, timeout=within_s
        )
        return None if done.returncode else bytes(done.stdout)

    monkeypatch.setattr(pictures, "done_at_once", done_at_once)


# Reads the grey of the first two pixels.
READS_PIXELS = """
class RapidOCR:
    def __init__(self, text_score):
        pass

    def __call__(self, pixels):
        return [([[0, 0]] * 4, f"{pixels[0, 0, 0]} {pixels[0, 1, 0]}", 1.0)], None
"""


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> str:
    data = io.BytesIO()
    image.save(data, kind, **how)
    return base64.b64encode(data.getvalue()).decode()


def scan() -> Image.Image:
    """Black and mid grey in 16 bits."""
    image = Image.new("I;16", (2, 1))
    image.putpixel((1, 0), 32768)
    return image


def stamp() -> Image.Image:
    """Black on what is transparent, and black too."""
    image = Image.new("LA", (2, 1))
    image.putpixel((0, 0), (0, 255))
    return image


def test_what_has_16_bits_keeps_its_greys(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for image in (encoded(scan()), encoded(scan(), transparency=65535)):
        made = opened(house.post("enhance", image=image)[1]).convert("L")
        assert (made.getpixel((0, 0)), made.getpixel((1, 0))) == (0, 128)
    with_library(monkeypatch, tmp_path, READS_PIXELS)
    assert house.post("ocr", image=encoded(scan()))[1]["text"] == "0 128"


def test_what_is_transparent_is_white_where_nothing_can_be(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    large = encoded(stamp().resize((64, 32), Image.Resampling.NEAREST))
    for kind in ("jpeg", "webp"):
        made = opened(house.post("enhance", image=large, format=kind)[1]).convert("L")
        assert (made.getpixel((8, 8)), made.getpixel((56, 8))) == pytest.approx((0, 255), abs=4)
    with_library(monkeypatch, tmp_path, READS_PIXELS)
    assert house.post("ocr", image=encoded(stamp()))[1]["text"] == "0 255"


def test_a_picture_of_too_many_bytes_is_not_sent(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_MAX_MADE_BYTES", 100)
    status, told = house.post("enhance", image=png())
    assert (status, told["hint"]) == (400, "Ask for jpeg, or for a smaller one."), told
    assert "and 100 are the most" in told["error"]


@pytest.mark.parametrize("task", ["ocr", "enhance"])
def test_too_many_pictures_wait(house: House, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setattr(pictures, "_LINE", Line(0, 0, "pictures"))
    reply = house.client.post(f"/api/tasks/{task}", json={"image": "not looked at"})
    assert (reply.status_code, reply.json()["code"]) == (503, "busy")
    assert reply.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("library", "hint"),
    [
        ("raise ModuleNotFoundError('no rapidocr_onnxruntime')", "hutch[ocr]"),
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libgl1"),
    ],
)
def test_without_what_it_needs_ocr_says_what(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, hint: str
) -> None:
    with_library(monkeypatch, tmp_path, library)
    status, told = house.post("ocr", image=png())
    assert (status, told["code"]) == (400, "not_built")
    assert hint in told["hint"]
