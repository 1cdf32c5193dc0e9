"""A BERT as an ONNX graph: what comes out of it is what NumPy computes of the same weights."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from hutch.core.errors import BadInput, FormatError, HutchError, NotBuilt
from hutch.engines.onnx.encoder import Encoder, Text
from hutch.engines.onnx.encoder_model import of_folder, of_gguf
from hutch.formats import safetensors
from hutch.store import quantize
from hutch.store.conversion import architectures
from hutch.store.conversion.bert_onnx import bert_to_onnx
from tests import hf_folders

Numbers = np.ndarray[Any, Any]
HEADS, EPSILON = 2, 1e-12
_erf = np.vectorize(math.erf)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hf_folders.bert(tmp_path / "bert")
    return tmp_path / "bert"


def stored(folder: Path) -> dict[str, Numbers]:
    found = safetensors.read(folder / "model.safetensors", "x")
    return {
        name.removeprefix("bert."): np.frombuffer(b"".join(tensor.pieces()), "<f2")
        .astype(np.float64)
        .reshape(tensor.shape)
        for name, tensor in found.items()
    }


def reference(tensors: Mapping[str, Numbers], ids: list[int]) -> Numbers:
    """The states of the tokens of one text, by the paper."""

    def normed(values: Numbers, name: str) -> Numbers:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return np.asarray(scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"])

    def linear(values: Numbers, name: str) -> Numbers:
        return np.asarray(values @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"])

    states = tensors["embeddings.word_embeddings.weight"][ids]
    states = states + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    states = normed(states + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    layer = "encoder.layer.0"
    query, key, value = (
        linear(states, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")
    )
    width = states.shape[1] // HEADS
    seen = np.zeros_like(states)
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        weights = np.exp(query[:, part] @ key[:, part].T / math.sqrt(width))
        seen[:, part] = weights / weights.sum(axis=1, keepdims=True) @ value[:, part]
    seen = linear(seen, f"{layer}.attention.output.dense")
    states = normed(seen + states, f"{layer}.attention.output.LayerNorm")
    grown = linear(states, f"{layer}.intermediate.dense")
    grown = grown * (1 + _erf(grown / math.sqrt(2))) / 2
    return normed(linear(grown, f"{layer}.output.dense") + states, f"{layer}.output.LayerNorm")


def as_gguf(folder: Path, path: Path, type_name: str = "F16") -> Path:
    files = {each.name: each for each in folder.iterdir() if each.is_file()}
    with path.open("wb") as file:
        file.writelines(quantize.requantized(architectures.converted(files), type_name).pieces())
    return path


TEXTS = ([2, 4, 5, 3], [2, 3], [2, 6, 6, 5, 4, 1, 6, 3])


@pytest.mark.parametrize("by", ["folder", "gguf", "gguf in memory"])
def test_vectors_are_what_numpy_computes(folder: Path, tmp_path: Path, by: str) -> None:
    source = folder if by == "folder" else as_gguf(folder, tmp_path / "bert.gguf")
    if by == "gguf in memory":
        model = of_gguf(source)
    else:
        bert_to_onnx(source, tmp_path / "out")
        model = of_folder(tmp_path / "out")
    vectors = Encoder(model, 1).run([Text(ids, [0] * len(ids)) for ids in TEXTS])
    tensors = stored(folder)
    for ids, vector in zip(TEXTS, vectors, strict=True):
        wanted = reference(tensors, ids).mean(axis=0)
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_the_folder_is_whole(folder: Path, tmp_path: Path) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    bert_to_onnx(folder, tmp_path / "out")
    config = Encoder(of_folder(tmp_path / "out"), 1).config
    assert (config.pooling, config.max_tokens, config.width, config.normalizes) == ("cls", 9, 32, True)
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert tokenizer.encode("A ab C zz ").ids == [2, 4, 4, 5, 6, 1, 3]
    assert tokenizer.encode("a", "c").type_ids == [0, 0, 0, 1, 1]
    assert tokenizer.decode([4, 5]) == "ab"


def test_a_limit_may_be_given(folder: Path, tmp_path: Path) -> None:
    bert_to_onnx(as_gguf(folder, tmp_path / "x.gguf"), tmp_path / "out", max_tokens=7)
    assert Encoder(of_folder(tmp_path / "out"), 1).config.max_tokens == 7


def test_what_is_no_float_bert_is_refused(folder: Path, tmp_path: Path) -> None:
    quantized = as_gguf(folder, tmp_path / "q.gguf", "Q8_0")
    with pytest.raises(NotBuilt, match="of type Q8_0; only F32, F16, BF16"):
        bert_to_onnx(quantized, tmp_path / "out")
    hf_folders.llama(tmp_path / "llama")
    with pytest.raises(NotBuilt, match="cannot be made into ONNX: it is of architecture 'llama'"):
        bert_to_onnx(tmp_path / "llama", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"config.json is missing"):
        bert_to_onnx(tmp_path / "empty", tmp_path / "out")
    (folder / "sentence_bert_config.json").write_text("[")
    with pytest.raises(FormatError, match=r"sentence_bert_config.json: not valid JSON"):
        bert_to_onnx(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_cut_off_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    path = as_gguf(folder, tmp_path / "x.gguf")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HutchError):
        bert_to_onnx(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_without_its_own_marks_is_refused(folder: Path, tmp_path: Path) -> None:
    files = {each.name: each for each in folder.iterdir() if each.is_file()}
    made = architectures.converted(files)
    entries = {key: value for key, value in made.entries.items() if not key.endswith("bos_token_id")}
    with (tmp_path / "x.gguf").open("wb") as file:
        file.writelines(replace(made, entries=entries).pieces())
    with pytest.raises(FormatError, match=r"bos_token_id is 101; the model has 8 tokens"):
        of_gguf(tmp_path / "x.gguf")
