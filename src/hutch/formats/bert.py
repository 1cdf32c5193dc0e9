"""BERT in a GGUF file, as ONNX Runtime can take it: which files those are, and what they say of themselves."""

from collections.abc import Mapping

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf import GGUF
from hutch.formats.gguf_source import shown
from hutch.formats.pooling_config import Pooling, PoolingConfig

_FLOATS = ("F32", "F16", "BF16")
_POOLING: Mapping[int, Pooling] = {1: "mean", 2: "cls", 3: "last"}
_EPSILON = "attention.layer_norm_epsilon"
_MIN_TOKENS = 3  # the opening one, a word, the closing one


def problem(facts: GGUF) -> str:
    """Why a model cannot be taken so; empty where it can. Looks at the header alone, also one without its vocabulary."""
    metadata = facts.metadata
    tokenizer = metadata.get("tokenizer.ggml.model")
    if facts.architecture != "bert" or tokenizer != "bert" or "tokenizer.ggml.tokens" not in metadata:
        return f"it is of architecture {shown(facts.architecture)} with the tokenizer {shown(tokenizer)}"
    if metadata.get("bert.pooling_type") not in _POOLING or not facts.is_encoder:
        return f"its bert.pooling_type is {shown(metadata.get('bert.pooling_type'))}, or it is causal"
    if odd := next((each for each in facts.tensors if each.type_name not in _FLOATS), None):
        return f"tensor {odd.name} is of type {odd.type_name}; only {', '.join(_FLOATS)} can be taken"
    try:
        wanted = _shapes(facts)
    except FormatError as error:
        return error.message
    found = {each.name: each.shape[::-1] for each in facts.tensors}
    if wanted != found:
        name = min(each for each in {**wanted, **found} if wanted.get(each) != found.get(each))
        return f"tensor {name} has the shape {found.get(name)}; {wanted.get(name)} is needed"
    return ""


def config(facts: GGUF) -> PoolingConfig:
    """How the model's numbers become one vector for a text. Raises NotBuilt for a model that has a `problem`."""
    if found := problem(facts):
        raise NotBuilt(
            f"this model cannot be made into ONNX: {found}",
            hint="What can be is a BERT of floats, with WordPiece. Export others with Optimum, and give the folder.",
        )
    return PoolingConfig(
        architecture="bert",
        width=count(facts, "embedding_length"),
        num_layers=count(facts, "block_count"),
        max_tokens=count(facts, "context_length"),
        pooling=_POOLING[facts.metadata["bert.pooling_type"]],
    )


def _shapes(facts: GGUF) -> dict[str, tuple[int, ...]]:
    """The tensors of a BERT, each with its shape, the row's length last."""
    width, inner = count(facts, "embedding_length"), count(facts, "feed_forward_length")
    if width % count(facts, "attention.head_count"):
        raise FormatError("bert.embedding_length is no multiple of bert.attention.head_count")
    if type(epsilon(facts)) is not float:
        raise FormatError(f"bert.{_EPSILON} is {shown(epsilon(facts))}; a number is needed")
    if count(facts, "context_length") < _MIN_TOKENS:
        raise FormatError("bert.context_length leaves no room for a text")
    rows = {each.name: each.shape[-1] for each in facts.tensors}
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (rows.get("token_embd.weight", 0), width),
        "position_embd.weight": (count(facts, "context_length"), width),
        "token_types.weight": (rows.get("token_types.weight", 0), width),
        "token_embd_norm.weight": (width,),
        "token_embd_norm.bias": (width,),
    }
    matrices = {"ffn_up": (inner, width), "ffn_down": (width, inner)}
    matrices |= dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
    for layer in range(count(facts, "block_count")):
        for name, shape in matrices.items():
            shapes |= {f"blk.{layer}.{name}.weight": shape, f"blk.{layer}.{name}.bias": shape[:1]}
        for name in ("attn_output_norm", "layer_output_norm"):
            shapes |= {f"blk.{layer}.{name}.{part}": (width,) for part in ("weight", "bias")}
    return shapes


def epsilon(facts: GGUF) -> float:
    """What keeps the normalisation from dividing by nothing."""
    value: float = facts.metadata.get(f"bert.{_EPSILON}", 1e-12)
    return value


def count(facts: GGUF, key: str) -> int:
    """One of the model's sizes, by its name in the metadata. Raises FormatError."""
    value = facts.metadata.get(f"bert.{key}")
    if type(value) is not int or value < 1:
        raise FormatError(f"bert.{key} is {shown(value)}; a positive integer is needed")
    return value
