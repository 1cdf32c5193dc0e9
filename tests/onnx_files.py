"""Small models in ONNX, made as they are needed: a llama of random weights in GenAI's layout, and an encoder in Hugging Face's."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = CHATML + "{% if tools %}{{ tools | tojson }}{% endif %}"
THINKS = CHATML + "{% if enable_thinking %}{{ '<think>' }}{% endif %}"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_ENGLISH = Path(__file__).parent.parent / "LICENSE"
_SAID = "Why is the sky blue? Count to a thousand. One, two, three. The capital of France is Paris. word word hello world"
Weights = Callable[..., NDArray[np.float32]]
_F, _I = TensorProto.FLOAT, TensorProto.INT64


@dataclass(frozen=True)
class Shape:
    """The sizes of a small llama. `logit_scale` makes its choices clear: no two tokens are nearly as likely."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    inner: int = 96
    context: int = 512
    seed: int = 7
    logit_scale: float = 8.0
    words: int = 0  # 0: those of `byte_tokenizer`
    rope_base: float = 10_000.0
    is_interleaved: bool = False  # how each head's numbers are paired to be turned
    epsilon: float = 1e-5

    @property
    def vocab(self) -> int:
        """The bytes and the special tokens, and what the merges add."""
        return self.words or byte_tokenizer().get_vocab_size()


@lru_cache(maxsize=1)
def byte_tokenizer() -> Tokenizer:
    """A byte-level tokenizer that knows common English words, so that prompts take about as many tokens as elsewhere."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_ENGLISH.read_text(encoding="utf-8"), *(20 * [_SAID])], trainer)
    return tokenizer


def genai_config(shape: Shape | None = None, **model: Any) -> dict[str, Any]:
    """What the model builder would write; `model` goes over its section of that name."""
    shape = shape or Shape()
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": shape.head_size,
        "hidden_size": shape.hidden,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
    }
    said = {
        "bos_token_id": 1,
        "context_length": shape.context,
        "decoder": decoder,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "type": "llama",
        "vocab_size": shape.vocab,
    }
    search = {"do_sample": False, "max_length": shape.context, "past_present_share_buffer": True}
    return {"model": {**said, **model}, "search": search}


def random_weights(shape: Shape) -> Weights:
    """Weights by chance, of which the head makes letters."""
    draw = np.random.default_rng(shape.seed)

    def weights(name: str, *sizes: int) -> NDArray[np.float32]:
        if "norm" in name:
            return np.ones(sizes, np.float32)
        if name != "lm_head":
            spread = 1 if name == "embed_tokens" else sizes[0] ** -0.5
            return draw.normal(0, spread, sizes).astype(np.float32)
        head = draw.normal(0, shape.logit_scale * shape.hidden**-0.5, sizes).astype(np.float32)
        for text, token in byte_tokenizer().get_vocab().items():
            if not text.removeprefix("Ġ").isalpha() or not text.removeprefix("Ġ").isascii():
                head[:, token] = (
                    0  # hardly ever the likeliest: what it writes are letters, and it does not end
                )
        return head

    return weights


def llama(shape: Shape | None = None, weights: Weights | None = None) -> onnx.ModelProto:
    """A llama by GroupQueryAttention, as the model builder makes it with a pruned head.

    `weights` gives each matrix, [inputs, outputs], by its name and sizes; `embed_tokens` is [words, width].
    """
    shape = shape or Shape()
    weights = weights or random_weights(shape)
    tensors: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def tensor(name: str, array: Any) -> str:
        tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def constant(name: str, array: Any) -> str:
        return node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array, np.int64)))

    def matmul(name: str, source: str, rows: int, columns: int) -> str:
        return node("MatMul", [source, tensor(f"{name}.weight", weights(name, rows, columns))], [name])

    def norm(name: str, source: str, output: str) -> str:
        weight = tensor(name, weights(name, shape.hidden))
        return node(
            "SimplifiedLayerNormalization", [source, weight], [output], axis=-1, epsilon=shape.epsilon
        )

    one, last = constant("one", [1]), constant("last", -1)
    node("ReduceSum", ["attention_mask", one], ["row_lengths"], keepdims=0)
    node("Sub", ["row_lengths", one], ["lengths_less_one"])
    node("Cast", ["lengths_less_one"], ["seqlens_k"], to=TensorProto.INT32)
    node("Shape", ["attention_mask"], ["mask_shape"])
    node("Gather", ["mask_shape", constant("index_one", 1)], ["total_long"])
    node("Cast", ["total_long"], ["total_length"], to=TensorProto.INT32)
    angles = np.outer(
        np.arange(shape.context),
        shape.rope_base ** -(np.arange(shape.head_size // 2) / (shape.head_size // 2)),
    )
    tensor("cos_cache", np.cos(angles).astype(np.float32))
    tensor("sin_cache", np.sin(angles).astype(np.float32))
    embedding = tensor("embed_tokens.weight", weights("embed_tokens", shape.vocab, shape.hidden))
    x = node("Gather", [embedding, "input_ids"], ["embedded"])
    for i in range(shape.layers):
        h = norm(f"layers.{i}.norm1", x, f"layers.{i}.x1")
        q = matmul(f"layers.{i}.q", h, shape.hidden, shape.heads * shape.head_size)
        k = matmul(f"layers.{i}.k", h, shape.hidden, shape.kv_heads * shape.head_size)
        v = matmul(f"layers.{i}.v", h, shape.hidden, shape.kv_heads * shape.head_size)
        attended = node(
            "GroupQueryAttention",
            [
                *(q, k, v, f"past_key_values.{i}.key", f"past_key_values.{i}.value"),
                *("seqlens_k", "total_length", "cos_cache", "sin_cache"),
            ],
            [f"layers.{i}.attended", f"present.{i}.key", f"present.{i}.value"],
            "com.microsoft",
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
            rotary_interleaved=int(shape.is_interleaved),
        )
        x = node(
            "Add",
            [x, matmul(f"layers.{i}.o", attended, shape.heads * shape.head_size, shape.hidden)],
            [f"layers.{i}.x2"],
        )
        h = norm(f"layers.{i}.norm2", x, f"layers.{i}.x3")
        up = matmul(f"layers.{i}.up", h, shape.hidden, shape.inner)
        gate = matmul(f"layers.{i}.gate", h, shape.hidden, shape.inner)
        node("Sigmoid", [gate], [f"layers.{i}.sigmoid"])
        node("Mul", [gate, f"layers.{i}.sigmoid"], [f"layers.{i}.silu"])
        node("Mul", [f"layers.{i}.silu", up], [f"layers.{i}.inner"])
        x = node(
            "Add",
            [x, matmul(f"layers.{i}.down", f"layers.{i}.inner", shape.inner, shape.hidden)],
            [f"layers.{i}.x4"],
        )
    norm("norm", x, "normed")
    node("Gather", ["normed", last], ["last_state"], axis=1)
    node("Unsqueeze", ["last_state", one], ["last_row"])
    node(
        "MatMul",
        ["last_row", tensor("lm_head.weight", weights("lm_head", shape.hidden, shape.vocab))],
        ["logits"],
    )
    return _model(shape, nodes, tensors)


def _model(shape: Shape, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> onnx.ModelProto:
    def cache(name: str, length: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(
            name, _F, ["batch_size", shape.kv_heads, length, shape.head_size]
        )

    pairs = [(i, kind) for i in range(shape.layers) for kind in ("key", "value")]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [
            helper.make_tensor_value_info("input_ids", _I, ["batch_size", "sequence_length"]),
            helper.make_tensor_value_info("attention_mask", _I, ["batch_size", "total_sequence_length"]),
            *(cache(f"past_key_values.{i}.{kind}", "past_sequence_length") for i, kind in pairs),
        ],
        [
            helper.make_tensor_value_info("logits", _F, ["batch_size", 1, shape.vocab]),
            *(cache(f"present.{i}.{kind}", "total_sequence_length") for i, kind in pairs),
        ],
        tensors,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def write_llama(
    folder: Path, shape: Shape | None = None, *, template: str = CHATML, external: bool = True, **model: Any
) -> Path:
    """A folder in GenAI's layout. `external`: the weights in a file of their own. `model` goes into genai_config.json."""
    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(
        llama(shape),
        str(folder / "model.onnx"),
        save_as_external_data=external,
        location="model.onnx.data",
        size_threshold=0,
    )
    (folder / "genai_config.json").write_text(json.dumps(genai_config(shape, **model), indent=1))
    write_tokenizer(folder, template)
    return folder


def write_tokenizer(folder: Path, template: str = CHATML) -> None:
    """The tokenizer's files."""
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    said: Mapping[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "model_max_length": 512,
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def write_encoder(folder: Path, *, labels: int = 0, hidden: int = 16) -> Path:
    """An encoder of one layer in Hugging Face's layout; with `labels`, one that ranks pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(3)
    vocab = byte_tokenizer().get_vocab_size()
    table = numpy_helper.from_array(draw.normal(0, 1, (vocab, hidden)).astype(np.float32), "embeddings")
    nodes = [helper.make_node("Gather", ["embeddings", "input_ids"], ["last_hidden_state"])]
    tensors, output = [table], "last_hidden_state"
    shape: list[str | int | None] = ["batch", "sequence", hidden]
    if labels:
        weight = draw.normal(0, 1, (hidden, labels)).astype(np.float32)
        tensors += [
            numpy_helper.from_array(weight, "head"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ]
        nodes += [
            helper.make_node("ReduceMean", ["last_hidden_state", "axis"], ["pooled"], keepdims=0),
            helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
        ]
        output, shape = "logits", ["batch", labels]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, _I, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(output, _F, shape)],
        tensors,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10),
        str(folder / "model.onnx"),
    )
    said = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification" if labels else "BertModel"],
        "hidden_size": hidden,
        "num_hidden_layers": 1,
        "max_position_embeddings": 128,
        "vocab_size": vocab,
    }
    (folder / "config.json").write_text(json.dumps(said))
    write_tokenizer(folder)
    return folder
