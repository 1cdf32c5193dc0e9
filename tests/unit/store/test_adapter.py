"""Adapters in safetensors into GGUF, and what of them is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hutch.core.errors import BadInput
from hutch.formats import gguf, safetensors
from hutch.formats.gguf import GGUF
from hutch.store.conversion import adapter
from hutch.store.conversion.architectures import converted
from tests import hf_decoders, hf_folders


def files_of(folder: Path) -> dict[str, Path]:
    return {file.name: file for file in folder.iterdir()}


def base(folder: Path, name: str = "llama") -> GGUF:
    hf_decoders.write(folder / "m", name)
    made = folder / "base.gguf"
    made.write_bytes(b"".join(converted(files_of(folder / "m")).pieces()))
    return gguf.read(made)


def test_an_adapter_is_converted_for_its_base(tmp_path: Path) -> None:
    hf_decoders.write_adapter(tmp_path / "a", "llama", use_rslora=True)
    made = tmp_path / "adapter.gguf"
    made.write_bytes(b"".join(adapter.converted(files_of(tmp_path / "a"), base(tmp_path)).pieces()))
    facts = gguf.read(made)
    assert facts.metadata["adapter.lora.alpha"] == 12.0  # 6 by the root of 4, and not by 4
    assert {tensor.name for tensor in facts.tensors} >= {
        "blk.0.attn_q.weight.lora_a",
        "blk.1.ffn_down.weight.lora_b",
    }
    theirs = safetensors.read(tmp_path / "a" / "adapter_model.safetensors", "a")
    given = theirs["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]
    rows = np.frombuffer(b"".join(given.pieces()), "<f4").reshape(4, 2, 8, 4).swapaxes(1, 2)
    tensor = next(each for each in facts.tensors if each.name == "blk.0.attn_q.weight.lora_b")
    start = facts.data_start + tensor.offset
    assert made.read_bytes()[start : start + tensor.size_bytes] == rows.tobytes()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not built"),
        ({"bias": "all"}, "bias 'all' is not built"),
        ({"use_dora": True}, "use_dora True is not built"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save ['lm_head'] is not built"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"use_rslora": True, "r": "x"}, "r is 'x'"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(
    tmp_path: Path, config: dict[str, Any], says: str
) -> None:
    hf_decoders.write_adapter(tmp_path / "a", "llama", **config)
    with pytest.raises(BadInput) as caught:
        adapter.converted(files_of(tmp_path / "a"), base(tmp_path))
    assert says in caught.value.message


_Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"model.embed_tokens.lora_embedding_A": (4, 4)}, "embed_tokens.lora_embedding_A' is not built"),
        ({"base_model.model.model.layers.0.input_layernorm.lora_A.weight": (4, 4)}, "is not built"),
        ({f"{_Q}A.weight": (4,)}, "is no matrix"),
        ({f"{_Q}B.weight": (63, 4)}, "does not fit the model's heads"),
        ({f"{_Q}A.weight": (4, 64)}, "one half alone of what changes blk.0.attn_q.weight"),
        ({f"{_Q}A.weight": (4, 32), f"{_Q}B.weight": (64, 4)}, "as if it were another model's"),
        ({f"{_Q.replace('0', '9')}A.weight": (4, 64), f"{_Q.replace('0', '9')}B.weight": (64, 4)}, "which this model does not have"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path: Path, tensors: dict[str, tuple[int, ...]], says: str) -> None:
    hf_decoders.write_adapter(tmp_path / "a", "llama")
    data = hf_folders.safetensors({name: hf_folders.numbers(*shape) for name, shape in tensors.items()})
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(data)
    with pytest.raises(BadInput) as caught:
        adapter.converted(files_of(tmp_path / "a"), base(tmp_path))
    assert says in caught.value.message


def test_a_base_of_another_kind_is_named(tmp_path: Path) -> None:
    hf_decoders.write_adapter(tmp_path / "a", "llama")
    (tmp_path / "m").mkdir()
    hf_folders.bert(tmp_path / "b")
    made = tmp_path / "bert.gguf"
    made.write_bytes(b"".join(converted(files_of(tmp_path / "b")).pieces()))
    with pytest.raises(BadInput, match="adapters in safetensors are not built for bert models"):
        adapter.converted(files_of(tmp_path / "a"), gguf.read(made))
    (tmp_path / "a" / "adapter_config.json").unlink()
    with pytest.raises(BadInput, match=r"adapter_config\.json is missing"):
        adapter.converted(files_of(tmp_path / "a"), gguf.read(made))
