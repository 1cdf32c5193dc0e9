"""`hutch models test`: its picture and its figures."""

import argparse
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hutch.cli import benchmark_picture
from hutch.cli.model_test import Together, _picture_place
from hutch.core.errors import BadInput


def found(*rows: Together) -> dict[str, object]:
    return {
        "model": "a<b&c",
        "quantization": "Q4_1",
        "engine": "llama.cpp",
        "first_token_s": 0.05,
        "decode_tokens_per_s": 100.0,
        "prefill_tokens_per_s": 700.0,
        "concurrency": [row._asdict() for row in rows],
    }


def test_the_picture_is_a_picture_whatever_is_in_it() -> None:
    svg = benchmark_picture.svg(found(Together(1, 90.0, 0.05, 1.0), Together(8, 300.0, 1.5, 2.0)))
    root = ET.fromstring(svg)
    texts = ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("text")]
    assert texts[0].startswith("a<b&c, Q4_1")
    assert {"90", "300", "50", "1500", "1", "8"} <= set(texts)
    ET.fromstring(benchmark_picture.svg(found()))


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path, tmp_path / "file" / "x.svg"):
        with pytest.raises(BadInput, match=r"cannot be written|file"):
            _picture_place(argparse.Namespace(model="m", picture=str(wrong)))
    right = tmp_path / "new" / "x.svg"
    assert _picture_place(argparse.Namespace(model="m", picture=str(right))) == right
    assert not right.exists()
