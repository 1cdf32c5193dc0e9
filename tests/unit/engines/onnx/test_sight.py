"""Prompts with images: by a processor that is played, and by GenAI's own."""

import base64
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hutch.core.errors import BadInput, EngineFailed
from hutch.engines.onnx import genai
from hutch.engines.onnx.genai import GenAIDecoder, Size
from hutch.engines.onnx.sight import Sight
from hutch.formats.image_words import WORDS
from tests import picture_files, vision_files, vision_kinds

RED, BLUE = (
    base64.b64encode(picture_files.png(28, 28, colour)).decode() for colour in (b"\xff\0\0", b"\0\0\xff")
)
GEMMA = WORDS["gemma3"]
BOS = 7


class Played:
    """A model whose processor says what it is told to, and remembers what it was asked."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids
        self.prompts: list[str] = []

    def create_multimodal_processor(self) -> Any:
        """The processor."""
        return self._process

    def _process(self, prompt: str, **_: Any) -> dict[str, Any]:
        self.prompts.append(prompt)
        ids = np.array([self.ids], np.int32)
        return {"input_ids": SimpleNamespace(as_numpy=lambda: ids), "pixel_values": None}


def sight(model: Any, kind: str = "gemma3", bos: int | None = None) -> Sight:
    decoder: Any = SimpleNamespace(model=model, look=lambda row, tensors: (row, tensors))
    return Sight(decoder, WORDS[kind], bos)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("gemma3", "a<start_of_image>b<start_of_image>"),
        ("gemma4", "a<|image|>b<|image|>"),
        ("mistral3", "a[IMG]b[IMG]"),
        ("phi3v", "a<|image_1|>\nb<|image_2|>\n"),
        ("phi4mm", "a<|image_1|>\nb<|image_2|>\n"),
        *(
            (kind, 2 * "{}<|vision_start|><|image_pad|><|vision_end|>")
            for kind in ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_5_moe", "fara")
        ),
    ],
)
def test_each_kind_has_words_of_its_own(kind: str, told: str) -> None:
    model = Played(1, -1, -1, 2)
    eyes = sight(model, kind)
    seen = eyes.see(f"a{eyes.marker}b{eyes.marker}", [RED, BLUE])
    assert model.prompts == [told.format("a", "b")]
    assert seen.ids == [1, -1, -1, 2]
    assert seen.prepare(3) == (3, {"pixel_values": None})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("gemma3", "<start_of_image>"),
        ("gemma3", "<image_soft_token>"),
        ("gemma4", "<|image>"),
        ("gemma4", "<image|>"),
        ("mistral3", "[IMG_BREAK]"),
        ("phi3v", "<|image_12|>"),
        ("phi4mm", "<|endoftext10|>"),
        ("qwen2_5_vl", "<|vision_start|>"),
        ("qwen3_vl", "<|image_pad|>"),
    ],
)
def test_those_words_in_a_text_are_refused(kind: str, text: str) -> None:
    eyes = sight(Played(), kind)
    with pytest.raises(BadInput, match="stands for an image") as refused:
        eyes.see(f"{eyes.marker} see {text}", [RED])
    assert text in refused.value.message


def test_there_is_one_beginning_however_many_the_processor_puts_there() -> None:
    for ids in ((BOS, BOS, 4, BOS), (BOS, 4, BOS), (4, BOS)):
        eyes = sight(Played(*ids), bos=BOS)
        assert eyes.see(eyes.marker, [RED]).ids == [BOS, 4, BOS]


@pytest.mark.parametrize(("places", "images"), [(0, 1), (1, 2), (2, 1)])
def test_each_image_needs_its_place(places: int, images: int) -> None:
    eyes = sight(Played())
    with pytest.raises(BadInput, match=f"{places} places for {images} images"):
        eyes.see("x" + places * eyes.marker, images * [RED])


@pytest.mark.parametrize("bad", ["", "no base64", base64.b64encode(picture_files.jpeg(9, 9)).decode()])
def test_what_could_end_the_process_is_not_opened(bad: str) -> None:
    eyes = sight(Played())
    with pytest.raises(BadInput, match=r"images\[1\]: a PNG"):
        eyes.see(2 * eyes.marker, [RED, bad])


def test_all_images_together_have_a_bound() -> None:
    eyes = sight(Played())
    large = base64.b64encode(picture_files.png_header(2048, 2048)).decode()
    eyes.see(16 * eyes.marker, [large] * 16)
    with pytest.raises(BadInput, match="67,108,864 are the most"):
        eyes.see(17 * eyes.marker, [large] * 17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vision_files.write(tmp_path_factory.mktemp("model"))


def test_the_same_tokens_of_other_images_give_other_logits(folder: Path) -> None:
    size = Size(2, 1024, vision_files.tokenizer().get_vocab_size(), 64)
    decoder = GenAIDecoder(genai.open_model(folder, (), 1, size).model, size, rewinds=False)
    eyes = Sight(decoder, GEMMA, None)
    red, blue = (eyes.see(f"{eyes.marker}What is this?", [image]) for image in (RED, BLUE))
    assert red.ids == blue.ids
    found = []
    for seen in (red, blue, red):
        seen.prepare(1)
        logits = decoder.prefill(1, seen.ids, 0)
        assert logits is not None
        found.append(logits.copy())
    assert np.array_equal(found[0], found[2])
    assert np.abs(found[0] - found[1]).max() > 1
    plain = decoder.prefill(1, red.ids[-5:], 0)  # a new row: nothing is seen in it
    again = decoder.prefill(0, red.ids[-5:], 0)
    assert np.array_equal(plain, again)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(vision_kinds.KINDS))
def test_other_kinds_see_too(kind: str, tmp_path: Path) -> None:
    size = Size(1, vision_kinds.CONTEXT, vision_kinds.write(tmp_path / "m", kind), 64)
    decoder = GenAIDecoder(genai.open_model(tmp_path / "m", (), 1, size).model, size, rewinds=False)
    eyes = Sight(decoder, WORDS[kind], None)
    found = []
    for brightness in (b"\xff", b"\x40", b"\xff"):
        image = picture_files.png(vision_kinds.SIDE, vision_kinds.SIDE, 3 * brightness)
        seen = eyes.see(f"A {eyes.marker} B", [base64.b64encode(image).decode()])
        assert Counter(seen.ids).most_common(1)[0][1] == vision_kinds.KINDS[kind].num_tokens
        seen.prepare(0)
        logits = decoder.prefill(0, seen.ids, 0)
        assert logits is not None
        found += [logits.copy(), decoder.decode(0, [50], [len(seen.ids)])[0].copy()]
    assert np.array_equal(found[:2], found[4:])
    assert np.abs(found[0] - found[2]).max() > 1
    assert np.abs(found[1] - found[3]).max() > 0.1


def test_a_processor_that_cannot_be_made_is_the_models_fault(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "processor_config.json").write_text("{}")
    size = Size(1, 1024, vision_files.tokenizer().get_vocab_size(), 64)
    eyes = Sight(GenAIDecoder(genai.open_model(tmp_path, (), 1, size).model, size), GEMMA, None)
    with pytest.raises(EngineFailed, match="image processor failed"):
        eyes.see(eyes.marker, [RED])
