"""A model's description as `/api/show` gives it."""

import logging
from collections.abc import Sequence
from typing import Any

from hutch.core.errors import BadInput, HutchError
from hutch.core.listing import details_json, tags_json
from hutch.core.models import Model, StoredModel
from hutch.formats import gguf, headers, modelfile, onnx_model, onnx_runner, onnx_tensor
from hutch.formats.gguf import GGUF
from hutch.formats.onnx_model import OnnxModel
from hutch.prompt import template
from hutch.prompt.capabilities import capabilities
from hutch.prompt.template import Template
from hutch.runtime.onnx_launch import made_for
from hutch.store.store import ModelStore

_log = logging.getLogger(__name__)
JsonDict = dict[str, Any]
_LONG = 5  # arrays with more items are left out unless asked for


def description(model: Model, *, verbose: bool, hardware: JsonDict | None = None) -> JsonDict:
    """All that the store and the file's header tell. Reads the file. `hardware`: what the model runs on, if it is loaded."""
    facts = gguf.read(model.weights[0]) if verbose and model.weights else headers.facts(model)
    info = _metadata(facts, verbose=verbose)
    described: JsonDict = {
        "license": "\n".join(model.licenses),
        "modelfile": _modelfile(model),
        "parameters": _parameters(model),
        "template": model.template if model.template is not None else facts.chat_template,
        "system": model.system or "",
        "renderer": model.renderer,
        "parser": model.parser,
        "requires": model.requires,
        "details": details_json(model.stored.details)
        | {"context_length": facts.context_length, "embedding_length": facts.embedding_length},
        "messages": list(model.messages),
        "model_info": info | {"general.parameter_count": facts.parameter_count},
        "capabilities": list(capabilities(facts, _template(model), has_projector=bool(model.projectors))),
        "modified_at": model.stored.modified_at.isoformat(),
    }
    if not facts.is_embedding:
        described["reproducibility"] = _reproducibility(facts, hardware)
    if isinstance(facts, OnnxModel):
        described["hardware"] = hardware or _planned(facts)
    if model.projectors:
        described["projector_info"] = _metadata(gguf.read(model.projectors[0]), verbose=verbose)
    if model.documents:
        described["documents"] = [
            {"name": each.name, "size": len(each.text.encode())} for each in model.documents
        ]
    if verbose:
        described["tensors"] = [
            {"name": tensor.name, "type": tensor.type_name, "shape": list(tensor.shape)}
            for tensor in _tensors(model)
        ]
    return {
        key: value
        for key, value in described.items()
        if value or key in ("template", "details", "model_info")
    }


class Abilities:
    """What the models of a list can do, looked up once for each content."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._known: dict[str, Sequence[str]] = {}  # by the manifest's digest

    def of(self, model: StoredModel) -> Sequence[str]:
        """Its capabilities; none where its files cannot be read. Reads the header of a file at first."""
        if model.digest not in self._known:
            try:
                opened = self._store.open(model.name)
                facts = headers.facts(opened)
            except HutchError as error:  # a list says what there is, `show` and `run` what is wrong with it
                _log.warning("%s: %s", model.name.short, error.message)
                return ()
            has_projector = bool(opened.projectors)
            self._known[model.digest] = capabilities(facts, _template(opened), has_projector=has_projector)
        return self._known[model.digest]


def table(models: Sequence[StoredModel], abilities: Abilities) -> JsonDict:
    """The models as `/api/tags` lists them, with what they can do."""
    told = tags_json(models)
    for row, model in zip(told["models"], models, strict=True):
        row["capabilities"] = list(abilities.of(model))
    return told


def _tensors(model: Model) -> Sequence[gguf.Tensor | onnx_tensor.Tensor]:
    if model.files:
        graphs = onnx_model.read(dict(model.files)).graphs.values()
        return [tensor for graph in graphs for tensor in graph.tensors if tensor.name]
    return gguf.read(model.weights[0]).tensors


def _metadata(facts: GGUF | OnnxModel, *, verbose: bool) -> JsonDict:
    if isinstance(facts, OnnxModel):
        return _onnx_metadata(facts)
    return {
        key: _shown(value, verbose=verbose)
        for key, value in facts.metadata.items()
        if key not in ("general.name", "tokenizer.chat_template")
    }


def _reproducibility(facts: GGUF | OnnxModel, hardware: JsonDict | None) -> str:
    """What the same seed gives. An engine that cannot promise the same text says so."""
    if isinstance(facts, GGUF):
        return "same seed, same text, where no other request runs: llama.cpp promises no more"
    measured = (hardware or {}).get("reproducible")
    if measured is None:
        return "tried out when the model is loaded"
    if measured:
        return "same seed, same text, whatever else runs"
    return "same seed, same text, where no other request runs: this graph rounds otherwise in a batch"


def _planned(facts: OnnxModel) -> JsonDict:
    """What an ONNX model runs on where nobody says otherwise."""
    providers = made_for(facts)
    runner = onnx_runner.runner_for(facts, providers)
    return {"runner": runner.name, "reason": runner.reason, "provider": providers[0]}


def _onnx_metadata(facts: OnnxModel) -> JsonDict:
    """What the folder says, under the keys that a GGUF file has for it."""
    runner = onnx_runner.runner_for(facts, made_for(facts))
    name, decoder = facts.architecture, facts.config.decoder if facts.config else None
    known = {
        "general.architecture": name,
        "general.file_type": facts.file_type,
        f"{name}.context_length": facts.context_length,
        f"{name}.block_count": facts.block_count,
        f"{name}.embedding_length": facts.embedding_length,
        f"{name}.attention.head_count": decoder and decoder.num_heads,
        f"{name}.attention.head_count_kv": decoder and decoder.num_kv_heads,
        f"{name}.attention.key_length": decoder and decoder.head_size,
        f"{name}.vocab_size": facts.config.vocab_size if facts.config else None,
        "onnx.parts": list(facts.config.other_parts) if facts.config else None,
        "onnx.runner": runner.name,
        "onnx.runner_reason": runner.reason,
    }
    return {key: value for key, value in known.items() if value}


def _template(model: Model) -> Template | None:
    """The model's TEMPLATE; None where it has none that can be read."""
    try:
        return template.parse(model.template) if model.template else None
    except BadInput:
        return None


def _shown(value: Any, *, verbose: bool) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value) if verbose or len(value) <= _LONG else []
    return value


def _parameters(model: Model) -> str:
    """One line for each value, as `show --parameters` prints them."""
    return "\n".join(
        f"{name:<30} {modelfile.option_text(item)}"
        for name, value in sorted(model.parameters.items())
        for item in (value if isinstance(value, list | tuple) else (value,))
    )


def _sources(model: Model) -> tuple[str, ...]:
    """What FROM leads back to: the files of GGUF; of a folder, which lies here in blobs, the model's own name."""
    if model.files:
        return (model.name.short,)
    return tuple(str(path) for path in (*model.weights, *model.projectors))


def _modelfile(model: Model) -> str:
    """A Modelfile that makes the same model again on this machine."""
    text = modelfile.render(
        modelfile.Modelfile(
            sources=_sources(model),
            adapter=str(model.adapters[-1]) if model.adapters else None,
            draft=str(model.drafts[-1]) if model.drafts else None,
            renderer=model.renderer or None,
            parser=model.parser or None,
            requires=model.requires or None,
            template=model.template,
            system=model.system,
            parameters=model.parameters,
            messages=model.messages,
            licenses=model.licenses,
            documents={each.name: str(each.path) for each in model.documents},
        )
    )
    return (
        '# Modelfile generated by "hutch show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        f"# FROM {model.name.short}\n\n{text}"
    )
