"""Folders of safetensors into GGUF, read back by the checking reader."""

import json
import struct
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


STRETCHED = {
    "rope_type": "llama3",
    "factor": 8,
    "low_freq_factor": 1,
    "high_freq_factor": 4,
    "original_max_position_embeddings": 64,
}
GEMMA3 = {
    "architectures": ["Gemma3ForCausalLM"],
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 8,
}
SPACE = "\u2581"
PIECES = {
    "type": "BPE",
    "byte_fallback": True,
    "unk_token": "<unk>",
    "vocab": {"<unk>": 0, "<0x0A>": 1, SPACE: 2, "h": 3, "i": 4, "hi": 5, SPACE + "hi": 6},
    "merges": ["h i", [SPACE, "hi"]],
}


def test_a_window_that_the_engine_does_not_know_bounds_the_context(tmp_path: Path) -> None:
    hf_folders.llama(tmp_path / "m", {"sliding_window": 32})
    assert convert(tmp_path / "m").metadata["llama.context_length"] == 32
    hf_folders.llama(tmp_path / "m", {"sliding_window": 32, "use_sliding_window": False})
    assert convert(tmp_path / "m").metadata["llama.context_length"] == 128


@pytest.mark.parametrize(
    ("document", "has_prefix"),
    [
        ({}, False),
        ({"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}}, False),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"}}, True),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"}}, False),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581"}}, True),
    ],
)
def test_pieces_with_bytes_to_fall_back_on_score_by_their_merges(
    tmp_path: Path, document: dict[str, Any], has_prefix: bool
) -> None:
    added = [
        {"id": 7, "content": "</s>", "special": True},
        {"id": 300, "content": "<picture>", "special": True},
    ]
    more = {"model": PIECES, "pre_tokenizer": None, "added_tokens": added} | document
    hf_folders.llama(tmp_path / "m", {"unk_token_id": 0}, **more)
    said = convert(tmp_path / "m").metadata
    assert said["tokenizer.ggml.model"] == "llama"
    assert said["tokenizer.ggml.tokens"][:9] == (
        "<unk>",
        "<0x0A>",
        SPACE,
        "h",
        "i",
        "hi",
        SPACE + "hi",
        "</s>",
        "[PAD8]",
    )
    assert list(said["tokenizer.ggml.token_type"][:9]) == [2, 6, 1, 1, 1, 1, 1, 3, 5]
    assert list(said["tokenizer.ggml.scores"][:8]) == [-2, -2, -2, -2, -2, 0, -1, -2]
    assert said["tokenizer.ggml.add_space_prefix"] is has_prefix
    assert (said["tokenizer.ggml.unknown_token_id"], said["tokenizer.ggml.add_bos_token"]) == (0, False)


def _message(*fields: tuple[int, bytes | int | float]) -> bytes:
    data = b""
    for number, value in fields:
        match value:
            case bytes():
                data += bytes([number << 3 | 2, len(value)]) + value
            case float():
                data += bytes([number << 3 | 5]) + struct.pack("<f", value)
            case _:
                data += bytes([number << 3, value])
    return data


def _sentence_piece(*, kind: int = 2, normalizer: bytes = _message((4, 0))) -> bytes:
    pieces = [("<unk>", 0.0, 2), ("<0x0A>", 0.0, 6), (SPACE + "hi", -1.5, 1)]
    rows = [_message((1, text.encode()), (2, score), (3, each)) for text, score, each in pieces]
    return _message(*((1, row) for row in rows), (2, _message((3, kind))), (3, normalizer))


def test_a_sentence_piece_model_is_read(tmp_path: Path) -> None:
    hf_folders.llama(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    (tmp_path / "m" / "tokenizer.model").write_bytes(_sentence_piece())
    (tmp_path / "m" / "tokenizer_config.json").write_text(
        '{"unk_token": "<unk>", "added_tokens_decoder": {"3": {"content": "<end>", "special": true}, "x": 1}}'
    )
    (tmp_path / "m" / "added_tokens.json").write_text('{"<more>": 4, "<picture>": 999}')
    said = convert(tmp_path / "m").metadata
    assert said["tokenizer.ggml.tokens"][:6] == ("<unk>", "<0x0A>", SPACE + "hi", "<end>", "<more>", "[PAD5]")
    assert list(said["tokenizer.ggml.token_type"][:6]) == [2, 6, 1, 3, 3, 5]
    assert said["tokenizer.ggml.scores"][2] == -1.5
    assert said["tokenizer.ggml.add_space_prefix"] is True
    assert said["tokenizer.ggml.add_bos_token"] is True


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (_message((2, _message((3, 2))), (3, _message((4, 0)))), "it has 0 tokens"),
        (b"\xff" * 20, "cannot be read as SentencePiece's protobuf"),
        (_sentence_piece()[:-1], "cannot be read as SentencePiece's protobuf"),
        (b"\x0b", "cannot be read as SentencePiece's protobuf"),
        (_message((1, 7)), "cannot be read as SentencePiece's protobuf"),
        (_sentence_piece(kind=1), "other than BPE is not built"),
        (_sentence_piece(normalizer=b""), "a normalizer that changes texts is not built"),
        (_sentence_piece(normalizer=_message((2, b"map"), (4, 0))), "a normalizer that changes texts"),
        (_message((1, _message((2, 0.5)))) + _sentence_piece(), "token 0 cannot be read"),
    ],
)
def test_a_sentence_piece_model_that_would_be_misread_is_refused(
    tmp_path: Path, data: bytes, says: str
) -> None:
    hf_folders.llama(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    (tmp_path / "m" / "tokenizer.model").write_bytes(data)
    with pytest.raises(BadInput) as caught:
        convert(tmp_path / "m")
    assert says in caught.value.message


SPLIT = {"type": "Split", "pattern": {"Regex": "x+"}}


@pytest.mark.parametrize(
    ("config", "tokenizer", "says"),
    [
        ({"architectures": ["MambaForCausalLM"]}, {}, "unsupported architecture 'MambaForCausalLM'"),
        ({"architectures": 7}, {}, "unsupported architecture None"),
        ({"rope_scaling": {"type": "yarn"}}, {}, "factor is None; a number above 0 is needed"),
        ({"rope_scaling": {"type": "yarn", "beta_fast": 9}}, {}, "beta_fast of rope_scaling is not built"),
        ({"rope_scaling": {"type": "yarn", "mscale": 1}}, {}, "mscale of rope_scaling is not built"),
        ({"rope_scaling": {"type": "longrope"}}, {}, "rope_scaling of the type 'longrope' is not built"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, {}, "factor is 0; a number above 0"),
        ({"rope_scaling": STRETCHED | {"low_freq_factor": 4}}, {}, "is not below high_freq_factor"),
        ({"rope_scaling": STRETCHED, "architectures": ["Qwen2ForCausalLM"]}, {}, "llama3 is not built for qwen2"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}, {}, "factor is None"),
        ({"rope_parameters": {"rope_theta": "x"}}, {}, "rope_theta is 'x'"),
        ({"rope_parameters": 7}, {}, "rope_parameters or rope_scaling is no object"),
        ({"quantization_config": {"bits": 4}}, {}, "quantization_config is not built"),
        ({"sliding_window": 0}, {}, "sliding_window is 0"),
        ({**GEMMA3, "layer_types": ["full_attention"] * 2}, {}, "layer_types in another order"),
        ({**GEMMA3, "sliding_window_pattern": 3}, {}, "sliding_window_pattern other than 6"),
        ({**GEMMA3, "query_pre_attn_scalar": 9}, {}, "query_pre_attn_scalar other than head_dim"),
        ({**GEMMA3, "rope_local_base_freq": 9}, {}, "rope_local_base_freq other than 10000"),
        ({**GEMMA3, "final_logit_softcapping": 30.0}, {}, "final_logit_softcapping is not built for Gemma 3"),
        ({**GEMMA3, "use_bidirectional_attention": True}, {}, "use_bidirectional_attention is not built"),
        ({**GEMMA3, "architectures": ["Gemma2ForCausalLM"]}, {}, "attn_logit_softcapping is None"),
        ({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 2}, {}, "partial_rotary_factor 2"),
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
        ({}, {"model": PIECES, "normalizer": {"type": "NFKC"}}, "its normalizer is none that is known"),
        ({}, {"model": PIECES, "pre_tokenizer": {"type": "Digits"}}, "its pre_tokenizer is none that is known"),
        ({}, {"model": PIECES | {"merges": ["a"]}, "pre_tokenizer": None}, "'a'] is no pair of tokens"),
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
    assert (
        "BertModel, LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM"
        in caught.value.hint
    )


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
