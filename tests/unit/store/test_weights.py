"""Weights that are made: shards merged, numbers quantised. What comes out is read back by the checking reader."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hutch import places
from hutch.core.errors import BadInput, FormatError, NotBuilt
from hutch.formats import ggml_numbers, gguf, gguf_writer
from hutch.formats.gguf_writer import NewGGUF, NewTensor
from hutch.store import manifests
from hutch.store.recipe import Recipe
from hutch.store.store import ModelStore
from tests import hf_folders
from tests.gguf_files import TOKENS, tiny_metadata, tiny_model
from tests.unit.store.things import add_model, blob_names, digest_of, name, statuses

Numbers = np.ndarray[Any, Any]
NUMBERS = np.random.default_rng(3).normal(0, 1, (len(TOKENS), 64)).astype(np.float32)


def _pieces(numbers: Numbers) -> tuple[bytes]:
    return (numbers.tobytes(),)


def plain(changes: dict[str, Any] | None = None, **tensors: Numbers) -> bytes:
    """A GGUF file of F32 tensors with these numbers."""
    new = [
        NewTensor(key.replace("_weight", ".weight"), each.shape[::-1], "F32", partial(_pieces, each))
        for key, each in tensors.items()
    ]
    header = tiny_metadata() | {"llama.embedding_length": 64} | (changes or {})
    kept = {key: value for key, value in header.items() if key != "tokenizer.ggml.scores"}
    return b"".join(NewGGUF(gguf_writer.entries(kept), tuple(new)).pieces())


MODEL = {"token_embd_weight": NUMBERS, "output_norm_weight": NUMBERS[0], "odd_weight": NUMBERS[:, :40].copy()}


def send(store: ModelStore, data: bytes) -> str:
    store.import_blob((data,), digest_of(data))
    return digest_of(data)


def create(store: ModelStore, files: dict[str, bytes], quantize: str = "") -> list[str]:
    sent = tuple((file, send(store, data)) for file, data in files.items())
    return statuses(store.create(name("made"), Recipe(files=sent, quantize=quantize)))


def tensor_bytes(path: Path, tensor: str) -> bytes:
    facts = gguf.read(path)
    found = next(each for each in facts.tensors if each.name == tensor)
    start = facts.data_start + found.offset
    return path.read_bytes()[start : start + found.size_bytes]


@pytest.mark.parametrize(
    ("asked", "made", "odd"),
    [("q8_0", "Q8_0", "F16"), ("Q4_0", "Q4_0", "F16"), ("f16", "F16", "F16"), ("BF16", "BF16", "BF16")],
)
def test_matrices_are_quantised_and_vectors_are_not(
    store: ModelStore, asked: str, made: str, odd: str
) -> None:
    told = create(store, {"x.gguf": plain({"general.file_type": 0}, **MODEL)}, asked)
    assert f"quantizing F32 model to {made}" in told
    path = store.open(name("made")).weights[0]
    facts = gguf.read(path)
    assert facts.file_type == made
    types = {tensor.name: tensor.type_name for tensor in facts.tensors}
    table = "Q8_0" if made == "Q4_0" else made
    assert types == {"token_embd.weight": table, "output_norm.weight": "F32", "odd.weight": odd}
    assert tensor_bytes(path, "token_embd.weight") == ggml_numbers.encode(table, NUMBERS)
    assert tensor_bytes(path, "output_norm.weight") == NUMBERS[0].tobytes()
    assert facts.metadata["tokenizer.ggml.merges"] == ("a b",)
    assert len(blob_names(store)) == 2  # the weights and the config: what it was made of is gone
    assert store.list()[0].details.quantization_level == made


def test_a_base_in_floats_can_be_quantised(store: ModelStore) -> None:
    add_model(store, data=plain(**MODEL))
    recipe = Recipe(from_model=name("tiny"), quantize="q8_0")
    for word in ("creating new", "using existing"):
        told = statuses(store.create(name("small"), recipe))
        assert f"{word} layer {manifests.read(store.root, name('small')).layers[0].digest}" in told
    assert store.open(name("small")).stored.details.quantization_level == "Q8_0"
    assert store.open(name("tiny")).stored.details.quantization_level == "F32"
    with pytest.raises(BadInput, match=r"^quantization is only supported for F16, BF16 and F32 models$"):
        statuses(store.create(name("small"), Recipe(from_model=name("small"), quantize="q8_0")))


@pytest.mark.parametrize("asked", ["Q9", "../x", "q" * 10_000])
def test_an_unknown_format_is_refused_before_anything_is_done(store: ModelStore, asked: str) -> None:
    wanted = Recipe(from_model=name("absent"), quantize=asked)
    with pytest.raises(BadInput, match=r"^unsupported quantization type") as caught:
        statuses(store.create(name("x"), wanted))
    assert len(str(caught.value)) < 300


def test_a_format_of_others_needs_their_tool(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTCH_HOME", str(places.home()))
    for variable in ("HUTCH_LLAMA_QUANTIZE", "HUTCH_LLAMA_SERVER", "OLLAMA_LLAMA_SERVER"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(NotBuilt, match="Q4_K_M needs") as caught:
        create(store, {"x.gguf": plain(**MODEL)}, "q4_k_m")
    assert "hutch engine build" in caught.value.hint


@pytest.mark.parametrize("beside", [False, True])
def test_their_tool_is_used_where_it_is(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    made = plain({"general.file_type": 15}, **MODEL)
    (tmp_path / "made").write_bytes(made)
    tool = tmp_path / "llama-quantize"
    tool.write_text(f'#!/bin/sh\n[ "$3" = Q4_K_M ] && cat {tmp_path}/made > "$2"\n')
    tool.chmod(0o755)
    monkeypatch.setenv(
        "HUTCH_LLAMA_SERVER" if beside else "HUTCH_LLAMA_QUANTIZE",
        str(tool.with_name("llama-server") if beside else tool),
    )
    create(store, {"x.gguf": plain(**MODEL)}, "q4_k")
    assert store.open(name("made")).weights[0].read_bytes() == made


def shard(index: int, count: int, total: int, **tensors: Numbers) -> bytes:
    more = {"split.count": count, "split.no": index, "split.tensors.count": total}
    return plain(more, **tensors)


FIRST = {"token_embd_weight": NUMBERS}
SECOND = {"output_norm_weight": NUMBERS[0], "odd_weight": NUMBERS[:, :40].copy()}
NAMES = ("x-00001-of-00002.gguf", "x-00002-of-00002.gguf")


def test_shards_become_one_file_in_whatever_order_they_come(store: ModelStore) -> None:
    told = create(store, {NAMES[1]: shard(1, 2, 3, **SECOND), NAMES[0]: shard(0, 2, 3, **FIRST)})
    assert "merging GGUF" in told
    path = store.open(name("made")).weights[0]
    facts = gguf.read(path)
    assert not [key for key in facts.metadata if key.startswith("split.")]
    for tensor, numbers in (("token_embd.weight", NUMBERS), ("odd.weight", NUMBERS[:, :40])):
        assert tensor_bytes(path, tensor) == numbers.tobytes()
    assert len(blob_names(store)) == 2


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({NAMES[0]: shard(0, 2, 3, **FIRST)}, "2 files, and 1 of them"),
        ({NAMES[0]: shard(0, 2, 3, **FIRST), NAMES[1]: shard(0, 2, 3, **SECOND)}, "fit together"),
        ({NAMES[0]: shard(0, 2, 3, **FIRST), NAMES[1]: shard(1, 3, 3, **SECOND)}, "fit together"),
        ({NAMES[0]: shard(0, 2, 3, **FIRST), NAMES[1]: shard(1, 2, 3, **FIRST)}, "in two files"),
        ({NAMES[0]: shard(0, 2, 9, **FIRST), NAMES[1]: shard(1, 2, 9, **SECOND)}, "as many tensors"),
        ({"x.gguf": shard(0, 2, 3, **FIRST)}, "one of the 2 of a model"),
        ({"/x.gguf": tiny_model()}, "file path must be relative"),
        ({"a/../../x.gguf": tiny_model()}, "file path must be relative"),
        ({"a\\x.gguf": tiny_model()}, "file path must be relative"),
        ({NAMES[0]: b"GGUF", NAMES[1]: b"GGUF"}, "ends at byte"),
    ],
)
def test_files_that_are_no_model_are_refused(store: ModelStore, files: dict[str, bytes], says: str) -> None:
    with pytest.raises((BadInput, FormatError), match=says):
        create(store, files)


def test_a_projector_stays_beside_what_is_converted(store: ModelStore, tmp_path: Path) -> None:
    hf_folders.llama(tmp_path / "m")
    files = {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()}
    eyes = tiny_model({"general.architecture": "clip"})
    assert "converting model" in create(store, {**files, "mmproj.gguf": eyes})
    made = store.open(name("made"))
    assert gguf.read(made.weights[0]).architecture == "llama"
    assert [path.read_bytes() for path in made.projectors] == [eyes]
    with pytest.raises(BadInput, match="one GGUF file of weights"):
        create(store, {**files, "other.gguf": tiny_model()})


def test_the_writer_writes_what_the_reader_reads(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(plain({"x.half": 0.5, "x.flag": True}, **MODEL))
    facts = gguf.read(tmp_path / "x")
    assert (facts.metadata["x.half"], facts.metadata["x.flag"], facts.metadata["llama.block_count"]) == (
        0.5,
        True,
        2,
    )
