"""Folders of safetensors into GGUF, read back by the checking reader."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hutch.core.errors import BadInput, FormatError, NotBuilt
from hutch.formats import gguf
from hutch.formats.gguf import GGUF
from hutch.store.conversion.architectures import converted
from tests import hf_folders


def convert(folder: Path) -> GGUF:
    made = folder.parent / "made.gguf"
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    made.write_bytes(b"".join(converted(files).pieces()))
    return gguf.read(made)


def numbers_of(path: Path, name: str) -> np.ndarray[Any, Any]:
    facts = gguf.read(path)
    tensor = next(each for each in facts.tensors if each.name == name)
    start = facts.data_start + tensor.offset
    data = path.read_bytes()[start : start + tensor.size_bytes]
    dtype = {"F16": "<f2", "F32": "<f4"}[tensor.type_name]
    return np.frombuffer(data, dtype).reshape(tensor.shape[::-1])


def test_a_llama_is_converted(tmp_path: Path) -> None:
    theirs = hf_folders.llama(tmp_path / "m")
    (tmp_path / "m" / "tokenizer_config.json").write_text(
        '{"chat_template": "{{ messages }}", "eos_token": {"content": "</s>"}}'
    )
    facts = convert(tmp_path / "m")
    said = facts.metadata
    assert (facts.architecture, facts.file_type, len(facts.tensors)) == ("llama", "F16", 3 + 9 * 2)
    assert (said["llama.attention.head_count_kv"], said["llama.rope.dimension_count"]) == (2, 16)
    assert (said["tokenizer.ggml.pre"], said["tokenizer.ggml.merges"]) == ("gpt-2", ("a b", "a c"))
    assert (said["tokenizer.ggml.bos_token_id"], said["tokenizer.ggml.eos_token_id"]) == (256, 257)
    assert said["tokenizer.ggml.tokens"][258:261] == ("ab", "ac", "[PAD260]")
    assert said["tokenizer.chat_template"] == "{{ messages }}"
    made = tmp_path / "made.gguf"
    assert (numbers_of(made, "blk.1.ffn_down.weight") == theirs["model.layers.1.mlp.down_proj.weight"]).all()
    norm = numbers_of(made, "output_norm.weight")
    assert norm.dtype == np.float32
    assert (norm == theirs["model.norm.weight"]).all()
    for ours, name, heads in (("attn_q", "q_proj", 4), ("attn_k", "k_proj", 2)):
        given = theirs[f"model.layers.0.self_attn.{name}.weight"]
        # as llama.cpp's own converter turns the halves of each head into pairs
        turned = given.reshape(heads, 2, 8, 64).swapaxes(1, 2).reshape(given.shape)
        assert (numbers_of(made, f"blk.0.{ours}.weight") == turned).all()


def test_a_qwen2_keeps_its_halves(tmp_path: Path) -> None:
    theirs = hf_folders.llama(tmp_path / "m", {"architectures": ["Qwen2ForCausalLM"]})
    assert convert(tmp_path / "m").architecture == "qwen2"
    given = theirs["model.layers.0.self_attn.q_proj.weight"]
    assert (numbers_of(tmp_path / "made.gguf", "blk.0.attn_q.weight") == given).all()


@pytest.mark.parametrize(("pooling", "number"), [({}, 1), ({"pooling_mode_cls_token": True}, 2)])
def test_a_bert_is_converted(tmp_path: Path, pooling: dict[str, bool], number: int) -> None:
    hf_folders.bert(tmp_path / "m")
    (tmp_path / "m" / "1_Pooling").mkdir()
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    facts = convert(tmp_path / "m")
    assert (facts.architecture, len(facts.tensors)) == ("bert", 5 + 16)
    assert facts.metadata["bert.pooling_type"] == number
    assert facts.metadata["tokenizer.ggml.tokens"][2:] == ("[CLS]", "[SEP]", "▁a", "b", "▁c", "[PAD7]")
    types = {tensor.name: tensor.type_name for tensor in facts.tensors}
    assert (types["token_embd.weight"], types["position_embd.weight"]) == ("F16", "F32")


SPLIT = {"type": "Split", "pattern": {"Regex": "x+"}}


@pytest.mark.parametrize(
    ("config", "tokenizer", "says"),
    [
        ({"architectures": ["MambaForCausalLM"]}, {}, "unsupported architecture 'MambaForCausalLM'"),
        ({"architectures": 7}, {}, "unsupported architecture None"),
        ({"rope_scaling": {"type": "yarn"}}, {}, "rope_scaling is not built"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}, {}, "rope_parameters other than"),
        ({"rope_parameters": {"rope_theta": "x"}}, {}, "rope_parameters cannot be read"),
        ({"rope_parameters": 7}, {}, "rope_parameters cannot be read"),
        ({"sliding_window": 32}, {}, "sliding_window is not built"),
        ({"hidden_act": "gelu"}, {}, "hidden_act other than silu"),
        ({"hidden_size": 1 << 62}, {}, "hidden_size is 4611686018427387904"),
        ({"hidden_size": "64"}, {}, "hidden_size is '64'"),
        ({"num_attention_heads": 0}, {}, "num_attention_heads is 0"),
        ({"head_dim": 7}, {}, "heads of 7 numbers"),
        ({"vocab_size": 1 << 24}, {}, "vocab_size is 16777216"),
        ({"num_hidden_layers": True}, {}, "num_hidden_layers is True"),
        ({"num_hidden_layers": 3}, {}, "no tensor model.layers.2"),
        ({"num_hidden_layers": 1}, {}, "tensor model.layers.1"),
        ({"rms_norm_eps": -1}, {}, "rms_norm_eps is -1"),
        ({"intermediate_size": 97}, {}, "config.json says"),
        ({"vocab_size": 200}, {}, "0 to 199 is allowed"),
        ({"vocab_size": 301}, {}, "config.json says"),
        ({}, {"model": {"type": "Unigram"}}, "of the kind 'Unigram' is not built"),
        ({}, {"model": {"type": "BPE", "byte_fallback": True}}, "SentencePiece is not built"),
        ({}, {"model": {"type": "BPE", "vocab": {"a": "0"}}}, "has the id '0'"),
        ({}, {"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}}}, "two tokens have the id 0"),
        ({}, {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}}, "no pair of tokens"),
        ({}, {"model": []}, "model is"),
        ({}, {"added_tokens": "x"}, "added_tokens is no list"),
        ({}, {"normalizer": {"type": "Lowercase"}}, "normalizer other than NFC"),
        ({}, {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, {"type": "ByteLevel"}]}}, "none that is known"),
        ({}, {"pre_tokenizer": None}, "pre_tokenizer is no object"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused(
    tmp_path: Path, config: dict[str, Any], tokenizer: dict[str, Any], says: str
) -> None:
    hf_folders.llama(tmp_path / "m", config, **tokenizer)
    with pytest.raises((BadInput, FormatError, NotBuilt)) as caught:
        convert(tmp_path / "m")
    assert says in caught.value.message


def test_what_can_be_converted_is_named(tmp_path: Path) -> None:
    hf_folders.llama(tmp_path / "m", {"architectures": ["X"]})
    with pytest.raises(NotBuilt) as caught:
        convert(tmp_path / "m")
    assert "BertModel, LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM" in caught.value.hint


@pytest.mark.parametrize(
    ("config", "tokenizer", "says"),
    [
        ({"position_embedding_type": "relative_key"}, {}, "position_embedding_type"),
        ({}, {"normalizer": {"lowercase": False}}, "tells upper from lower case"),
        ({}, {"normalizer": {"lowercase": True, "strip_accents": False}}, "tells upper from lower case"),
        ({}, {"model": {"type": "WordPiece", "vocab": {"a": 0}}, "added_tokens": []}, r"[CLS] is missing"),
    ],
)
def test_a_bert_that_llama_cpp_would_misread_is_refused(
    tmp_path: Path, config: dict[str, Any], tokenizer: dict[str, Any], says: str
) -> None:
    hf_folders.bert(tmp_path / "m", config, **tokenizer)
    with pytest.raises(BadInput) as caught:
        convert(tmp_path / "m")
    assert says in caught.value.message


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"[" * 200_000, b"\xff\xfe"])
def test_files_that_are_no_json_are_refused(tmp_path: Path, file: str, data: bytes) -> None:
    hf_folders.llama(tmp_path / "m")
    (tmp_path / "m" / file).write_bytes(data)
    with pytest.raises(FormatError, match=file):
        convert(tmp_path / "m")


def test_a_folder_that_lacks_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    hf_folders.llama(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"gone.weight": "../x"}}')
    with pytest.raises(BadInput, match=r"'gone.weight' is in none of its files"):
        convert(folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "again.safetensors").write_bytes((folder / "model-00001-of-00002.safetensors").read_bytes())
    with pytest.raises(FormatError, match="is in two files"):
        convert(folder)
    (folder / "config.json").unlink()
    with pytest.raises(BadInput, match=r"config.json is missing"):
        convert(folder)
