"""What a folder with an ONNX encoder says of itself: how its numbers become one vector for a text, or a score.

Reads `config.json` of transformers and the files of sentence-transformers beside it. Pure but for reading those files, each
bounded; names in them are never followed out of the folder, for only files that were handed in are looked at.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hutch.core.errors import FormatError, NotBuilt
from hutch.formats.gguf import open_regular
from hutch.formats.gguf_source import shown

Pooling = Literal["mean", "cls", "max", "last"]

MAX_TOKENS = 1 << 17  # of one text; the longest encoders known take 32,768
MAX_WIDTH = 1 << 16
_MAX_JSON_BYTES = 4 << 20
_MAX_MODULES = 8
_MAX_LABELS = 2  # no, and yes
_POOLING: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_ROBERTA = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "xlm-roberta-xl",
)  # positions count from the padding's id on
_ORDER = re.compile("Transformer( Pooling( Dense)*( Normalize)?)?")
_CONFIG = "config.json"
_HINT = "Give the whole folder, as Optimum or sentence-transformers exports it."


@dataclass(frozen=True, slots=True)
class Dense:
    """A layer behind the pooling. `name` is the file of its tensors `linear.weight` and `linear.bias`."""

    name: str
    config_name: str
    width: int
    is_tanh: bool


@dataclass(frozen=True, slots=True)
class PoolingConfig:
    """The facts of an encoder. `num_labels` is 0 for one that makes vectors, else it ranks.

    `max_tokens` counts the tokens that open and close a text too. `sigmoid`: whether a score is made to lie between 0 and 1.
    """

    architecture: str
    width: int
    num_layers: int
    max_tokens: int
    pooling: Pooling = "mean"
    pooling_name: str = ""  # of the file that says so
    normalizes: bool = True
    denses: tuple[Dense, ...] = ()
    num_labels: int = 0
    sigmoid: bool = True
    pad_token_id: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The files of the pooling and of the dense layers."""
        own = (self.pooling_name,) if self.pooling_name else ()
        return own + tuple(name for dense in self.denses for name in (dense.name, dense.config_name))

    @property
    def is_reranker(self) -> bool:
        """Whether it says how well a document answers a query, and makes no vectors."""
        return self.num_labels > 0


def read(files: Mapping[str, Path]) -> PoolingConfig:
    """Read the configuration among `files`, which are named as in the folder. Raises FormatError or NotBuilt."""
    config = _json(files, _CONFIG)
    if config is None:
        raise FormatError(f"the model's {_CONFIG} is missing", hint=_HINT)
    width = _count(config, _CONFIG, "hidden_size", MAX_WIDTH, aliases=("dim", "d_model"))
    modules = _modules(files)
    labels = _num_labels(config)
    pooling, pooling_name = _pooling(files, modules)
    return PoolingConfig(
        architecture=_name(config),
        width=width,
        num_layers=_count(
            config, _CONFIG, "num_hidden_layers", 512, default=1, aliases=("n_layers", "num_layers")
        ),
        max_tokens=_max_tokens(config, files),
        pooling=pooling,
        pooling_name=pooling_name,
        normalizes=not modules or "Normalize" in modules.values(),
        denses=tuple(_dense(files, path) for path, kind in modules.items() if kind == "Dense"),
        num_labels=labels,
        sigmoid=_has_sigmoid(config),
        pad_token_id=_count(config, _CONFIG, "pad_token_id", 1 << 24, default=0, low=0),
    )


def _name(config: Mapping[str, Any]) -> str:
    name = config.get("model_type")
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
        raise FormatError(f"{_CONFIG}: model_type is {shown(name)}; a name like bert is needed", hint=_HINT)
    return name


def _num_labels(config: Mapping[str, Any]) -> int:
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and named else ""
    if not isinstance(name, str) or not name.endswith("ForSequenceClassification"):
        return 0
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
    if type(count) is not int or not 1 <= count <= _MAX_LABELS:
        raise NotBuilt(
            f"{_CONFIG}: a classifier of {shown(count)} labels is no reranker",
            hint="Hutch runs those that score a query with a document: one label, or no and yes.",
        )
    return count


def _has_sigmoid(config: Mapping[str, Any]) -> bool:
    """Of a head with one label. sentence-transformers puts a sigmoid behind it unless the model says otherwise."""
    section = config.get("sentence_transformers")
    named = section.get("activation_fn") if isinstance(section, dict) else None
    name = named or config.get("sbert_ce_default_activation_function") or "Sigmoid"
    kind = name.rpartition(".")[2] if isinstance(name, str) else name
    if kind not in ("Sigmoid", "Identity"):
        raise NotBuilt(f"{_CONFIG}: an activation {shown(name)} behind the scores is not built")
    return bool(kind == "Sigmoid")


def _max_tokens(config: Mapping[str, Any], files: Mapping[str, Path]) -> int:
    positions = _count(
        config, _CONFIG, "max_position_embeddings", MAX_TOKENS, default=512, aliases=("n_positions",)
    )
    if config.get("model_type") in _ROBERTA:
        positions -= _count(config, _CONFIG, "pad_token_id", 1 << 24, default=1, low=0) + 1
    limits = [positions]
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        value = (_json(files, name) or {}).get(key)
        if (
            type(value) is int and 0 < value <= MAX_TOKENS
        ):  # else it is null, or a number that means: no limit
            limits.append(value)
    if min(limits) < 3:  # the opening one, a word, the closing one
        raise FormatError(f"{_CONFIG}: it takes {min(limits)} tokens, which hold no text", hint=_HINT)
    return min(limits)


def _modules(files: Mapping[str, Path]) -> dict[str, str]:
    """What sentence-transformers puts behind each other: kinds by their paths in the folder."""
    if "modules.json" not in files:
        return {}
    listed = _parsed(files, "modules.json")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MAX_MODULES:
        raise FormatError("modules.json: a list of modules is needed", hint=_HINT)
    modules: dict[str, str] = {}
    for each in listed:
        path, kind = (each.get("path"), each.get("type")) if isinstance(each, dict) else (None, None)
        if not isinstance(path, str) or not isinstance(kind, str):
            raise FormatError("modules.json: a module without path and type", hint=_HINT)
        modules[path] = kind.rpartition(".")[2]
    if not _ORDER.fullmatch(" ".join(modules.values())):
        raise NotBuilt(f"modules.json: {shown(', '.join(modules.values()))} is not built")
    return modules


def _pooling(files: Mapping[str, Path], modules: Mapping[str, str]) -> tuple[Pooling, str]:
    """How vectors are pooled, and the file that says so."""
    path = next((path for path, kind in modules.items() if kind == "Pooling"), "")
    name = f"{path or '1_Pooling'}/config.json"
    if path and name not in files:
        raise FormatError(f"the model's {shown(name)} is missing", hint=_HINT)
    if name not in files:
        return "mean", ""
    said = _json(files, name) or {}
    modes = [key for key, value in said.items() if key.startswith("pooling_mode_") and value is True]
    if not modes:
        return "mean", name  # as sentence-transformers does
    if len(modes) > 1 or modes[0] not in _POOLING:
        raise NotBuilt(f"{name}: {shown(' with '.join(modes))} is not built")
    return _POOLING[modes[0]], name


def _dense(files: Mapping[str, Path], path: str) -> Dense:
    name, tensors = f"{path}/config.json", f"{path}/model.safetensors"
    said = _json(files, name)
    if said is None or tensors not in files:
        raise FormatError(
            f"the model's {shown(name if said is None else tensors)} is missing",
            hint="Save it with safetensors: files of PyTorch's own can run programs, and are not opened.",
        )
    kind = str(said.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if kind not in ("Tanh", "Identity"):
        raise NotBuilt(f"{name}: an activation {shown(kind)} is not built")
    return Dense(tensors, name, _count(said, name, "out_features", MAX_WIDTH), kind == "Tanh")


def _count(
    config: Mapping[str, Any],
    name: str,
    key: str,
    high: int,
    *,
    default: int | None = None,
    low: int = 1,
    aliases: tuple[str, ...] = (),
) -> int:
    value = next((config[each] for each in (key, *aliases) if config.get(each) is not None), default)
    if type(value) is not int or not low <= value <= high:
        raise FormatError(
            f"{name}: {key} is {shown(value)}; an integer from {low} to {high:,} is needed", hint=_HINT
        )
    return value


def _json(files: Mapping[str, Path], name: str) -> Mapping[str, Any] | None:
    if name not in files:
        return None
    document = _parsed(files, name)
    if not isinstance(document, dict):
        raise FormatError(f"{name}: not a JSON object", hint=_HINT)
    return document


def _parsed(files: Mapping[str, Path], name: str) -> Any:
    with open_regular(files[name]) as file:
        data = file.read(_MAX_JSON_BYTES + 1)
    if len(data) > _MAX_JSON_BYTES:
        raise FormatError(f"{name}: more than {_MAX_JSON_BYTES >> 20} MiB of JSON", hint=_HINT)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise FormatError(f"{name}: not valid JSON", hint=_HINT) from None
