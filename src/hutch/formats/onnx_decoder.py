"""Whether a graph that writes has the inputs and outputs that `genai_config.json` says it has. Pure."""

from hutch.core.errors import FormatError
from hutch.formats.genai_config import Decoder, GenAIConfig
from hutch.formats.gguf_source import shown
from hutch.formats.onnx import ONNX, Value

_HINT = "genai_config.json belongs to another graph. Get both from one place."
_EMBEDDINGS = "inputs_embeds"  # of a part of a model whose tokens another part turns into vectors
_HIDDEN_STATES = "hidden_states"
_ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "float8e4m3fn": 1}
_INTEGERS = ("int64", "int32")


def check(config: GenAIConfig, graph: ONNX) -> int | None:
    """The bytes of a number of the key-value cache. Raises FormatError where graph and configuration do not fit together."""
    decoder = config.decoder
    assert decoder is not None  # noqa: S101  # the caller has looked
    names = decoder.names
    tokens = graph.inputs.get(names["input_ids"])
    if tokens is None and _EMBEDDINGS not in graph.inputs:
        raise FormatError(f"{decoder.filename} has no input {shown(names['input_ids'])}", hint=_HINT)
    if tokens is not None and tokens.type_name not in _INTEGERS:
        raise FormatError(
            f"{decoder.filename}: {shown(tokens.name)} is {tokens.type_name}, not integers", hint=_HINT
        )
    logits = graph.outputs.get(names["logits"])
    if logits is None and _HIDDEN_STATES not in graph.outputs:
        raise FormatError(f"{decoder.filename} has no output {shown(names['logits'])}", hint=_HINT)
    if logits is not None and logits.shape and isinstance(logits.shape[-1], int):
        _check_size(decoder, logits, -1, config.vocab_size, "vocab_size")
    return _check_cache(decoder, graph)


def _check_cache(decoder: Decoder, graph: ONNX) -> int | None:
    """The bytes of a number of the key-value cache, whose inputs and outputs are all there and alike."""
    names, found = decoder.names, None
    sides = (
        (graph.inputs, ("past_key_names", "past_value_names"), "input"),
        (graph.outputs, ("present_key_names", "present_value_names"), "output"),
    )
    layers = [index for index in range(decoder.num_layers) if names["past_key_names"] % index in graph.inputs]
    is_hybrid = len(layers) < decoder.num_layers and any(
        "conv" in name or "state" in name for name in graph.inputs
    )
    for values, keys, side in sides:
        for index in layers if is_hybrid else range(decoder.num_layers):
            for key in keys:
                value = values.get(names[key] % index)
                if value is None:
                    raise FormatError(
                        f"{decoder.filename} has no {side} {shown(names[key] % index)}; "
                        f"genai_config.json says that it has {decoder.num_layers} layers",
                        hint=_HINT,
                    )
                if len(value.shape) == 4:
                    _check_size(decoder, value, 1, decoder.num_kv_heads, "num_key_value_heads")
                    _check_size(decoder, value, 3, decoder.head_size, "head_size")
                if value.type_name not in _ELEMENT_BYTES or found not in (None, value.type_name):
                    raise FormatError(
                        f"{decoder.filename}: {shown(value.name)} is of type {value.type_name}", hint=_HINT
                    )
                found = value.type_name
    if not is_hybrid and names["past_key_names"] % decoder.num_layers in graph.inputs:
        raise FormatError(
            f"{decoder.filename} has more than the {decoder.num_layers} layers that genai_config.json says",
            hint=_HINT,
        )
    return _ELEMENT_BYTES.get(found or "")


def _check_size(decoder: Decoder, value: Value, axis: int, wanted: int, what: str) -> None:
    size = value.shape[axis]
    if isinstance(size, int) and size != wanted:
        raise FormatError(
            f"{decoder.filename}: {shown(value.name)} has the size {size:,}; genai_config.json says {what} is {wanted:,}",
            hint=_HINT,
        )
