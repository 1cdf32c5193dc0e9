"""ONNX folders: their facts, and what is refused of them."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx as library
import pytest

from hutch.core.errors import FormatError
from hutch.formats import bounded_json, folder_names, genai_config, onnx_model, tokenizer_files
from hutch.formats.onnx_model import OnnxModel
from tests import vision_files
from tests.onnx_files import CHATML, Shape, llama, write_encoder, write_llama
from tests.onnx_files import genai_config as made_config

Change = Callable[[Path], object]


def read(folder: Path) -> OnnxModel:
    """Read a folder as the store does, within the time that a hostile one may take."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    started = time.process_time()
    try:
        return onnx_model.read(files)
    finally:
        assert time.process_time() - started < 1.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llama(tmp_path / "llama")


@pytest.mark.parametrize("external", [True, False])
def test_a_llama_tells_its_facts(tmp_path: Path, external: bool) -> None:
    folder = write_llama(tmp_path / "llama", external=external)
    (folder / "README.md").write_text("not read by any runtime")
    found = read(folder)
    data = ("model.onnx.data",) if external else ()
    others = ("genai_config.json", "tokenizer.json", "tokenizer_config.json")
    assert found.names == ("model.onnx", *data, *others)
    assert found.size_bytes == sum((folder / name).stat().st_size for name in found.names)
    assert (found.architecture, found.context_length, found.block_count) == ("llama", 512, 2)
    assert (found.embedding_length, found.file_type) == (64, "fp32")
    assert found.kv_bytes_per_token(4) == 2 * 2 * 2 * 16 * 4
    assert found.kv_element_bytes == 4
    assert found.chat_template == CHATML
    assert not found.is_embedding
    assert not found.can_embed
    weights = [each for each in llama().graph.initializer if not each.name.endswith("_cache")]
    assert found.parameter_count == sum(library.numpy_helper.to_array(each).size for each in weights)


def test_a_model_that_writes_makes_no_vectors_even_where_its_graph_gives_states(folder: Path) -> None:
    made = llama()
    made.graph.node.append(library.helper.make_node("Identity", ["logits"], ["hidden_states"]))
    made.graph.output.append(library.helper.make_empty_tensor_value_info("hidden_states"))
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    assert not read(folder).can_embed


@pytest.mark.parametrize(("labels", "is_reranker"), [(0, False), (1, True)])
def test_an_encoder_tells_its_facts(tmp_path: Path, labels: int, is_reranker: bool) -> None:
    found = read(write_encoder(tmp_path / "e", labels=labels))
    assert found.is_embedding
    assert found.is_encoder
    assert found.can_embed
    assert found.encoder is not None
    assert found.encoder.is_reranker is is_reranker
    assert (found.architecture, found.context_length, found.embedding_length) == ("bert", 128, 16)
    assert found.kv_bytes_per_token() == 0


def test_the_file_that_says_how_to_pool_is_kept_wherever_it_lies(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "e")
    listed = [{"path": path, "type": f"m.{kind}"} for path, kind in (("", "Transformer"), ("odd", "Pooling"))]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "odd").mkdir()
    (folder / "odd/config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    found = read(folder)
    assert found.pooling is not None
    assert found.pooling.pooling == "cls"
    assert "odd/config.json" in found.names
    (folder / "odd/config.json").unlink()
    with pytest.raises(FormatError, match=r"odd/config\.json' is missing"):
        read(folder)


@pytest.mark.parametrize(("kind", "sees"), [("gemma3", True), ("qwen2_5_vl", True), ("unheard_of", False)])
def test_a_folder_with_eyes_sees_where_its_kind_is_known(tmp_path: Path, kind: str, sees: bool) -> None:
    folder = vision_files.write(tmp_path / "m")
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["type"] = kind
    (folder / "genai_config.json").write_text(json.dumps(config))
    found = read(folder)
    assert found.sees is sees
    assert {"vision.onnx", "embedding.onnx", "model.onnx", "processor_config.json"} <= set(found.names)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("[]", "no JSON object"),
        ("{" * 100_000, "no JSON"),
        ('{"processor": {"transforms": [{"attrs": {"height": 40000}}]}}', "at most 8,192"),
        ('{"processor": {"transforms": [{"attrs": {"max_pixels": 1e12}}]}}', "at most 16,777,216"),
    ],
)
def test_what_is_to_be_done_to_images_is_bounded(tmp_path: Path, said: str, complaint: str) -> None:
    folder = vision_files.write(tmp_path / "m")
    (folder / "processor_config.json").write_text(said)
    with pytest.raises(FormatError, match=complaint):
        read(folder)


def test_an_encoders_graph_may_lie_in_a_folder(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "e")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    assert read(folder).names[0] == "onnx/model.onnx"


def test_a_template_in_a_file_of_its_own_comes_first(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ 'own' }}")
    assert read(folder).chat_template == "{{ 'own' }}"


def test_of_several_templates_the_default_counts(folder: Path) -> None:
    several = [{"name": "rag", "template": "no"}, {"name": "default", "template": "yes"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert read(folder).chat_template == "yes"


def test_quantised_weights_are_counted_as_what_they_stand_for(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "q")
    made = llama()
    head = next(node for node in made.graph.node if node.output[0] == "logits")
    rows, columns = 64, Shape().vocab
    made.graph.node.remove(head)
    made.graph.node.append(
        library.helper.make_node(
            "MatMulNBits",
            ["last_row", "packed", "scales"],
            ["logits"],
            domain="com.microsoft",
            K=rows,
            N=columns,
            bits=4,
            block_size=32,
        )
    )
    plain = next(each for each in made.graph.initializer if each.name == "lm_head.weight")
    made.graph.initializer.remove(plain)
    made.graph.initializer.append(
        library.helper.make_tensor(
            "packed", library.TensorProto.UINT8, [columns, 2, 16], bytes(columns * 32), raw=True
        )
    )
    made.graph.initializer.append(
        library.helper.make_tensor(
            "scales", library.TensorProto.FLOAT, [columns * 2], bytes(columns * 8), raw=True
        )
    )
    before = read(folder).parameter_count
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    assert read(folder).parameter_count == before


def _config(**changes: Any) -> Change:
    """Change genai_config.json's model section."""

    def change(folder: Path) -> None:
        (folder / "genai_config.json").write_text(json.dumps(made_config(**changes)))

    return change


def _decoder(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        said = made_config()
        said["model"]["decoder"] |= changes
        (folder / "genai_config.json").write_text(json.dumps(said))

    return change


def _names(side: str, **names: str) -> Change:
    def change(folder: Path) -> None:
        said = made_config()
        said["model"]["decoder"][side] |= names
        (folder / "genai_config.json").write_text(json.dumps(said))

    return change


def _session(**options: Any) -> Change:
    return _decoder(session_options=options)


def _file(name: str, data: bytes | None) -> Change:
    """Write a file, or remove it."""

    def change(folder: Path) -> None:
        if data is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(data)

    return change


def _cut_data(folder: Path) -> None:
    data = folder / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-100])


REFUSED: dict[str, tuple[Change, str]] = {
    "no graph": (_file("model.onnx", None), "model.onnx is missing"),
    "no weights": (_file("model.onnx.data", None), "is in 'model.onnx.data', which is not there"),
    "cut weights": (_cut_data, "which has"),
    "no tokenizer": (_file("tokenizer.json", None), "tokenizer.json is missing"),
    "no configuration": (_file("genai_config.json", None), "neither genai_config.json nor config.json"),
    "a tokenizer that is no JSON": (_file("tokenizer.json", b"{"), "tokenizer.json is no JSON"),
    "a tokenizer of nothing": (
        _file("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {}}}'),
        "no vocabulary",
    ),
    "a tokenizer of odd ids": (
        _file("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {"a": -1}}}'),
        "token 'a' has the id -1",
    ),
    "an unknown tokenizer": (
        _file("tokenizer.json", b'{"model": {"type": "Magic", "vocab": {"a": 1}}}'),
        "none of",
    ),
    "deep JSON": (_file("tokenizer.json", b'{"a":' + b"[" * 200_000), "too deep"),
    "JSON of many parts": (_file("tokenizer.json", b"[" + b"{}," * 4_000_000 + b"{}]"), "too many parts"),
    "JSON that says a thing twice": (
        _file("genai_config.json", b'{"model": {}, "model": {}}'),
        "there twice",
    ),
    "JSON that is a list": (_file("genai_config.json", b"[]"), "no JSON object"),
    "NaN": (_file("genai_config.json", b'{"model": NaN}'), "no number"),
    "a template that is no text": (
        _file("tokenizer_config.json", b'{"chat_template": 7}'),
        "a text is needed",
    ),
    "a template that is too long": (
        _file("chat_template.jinja", b"a" * (tokenizer_files.MAX_TEMPLATE_CHARS + 1)),
        "more than 262,144 characters",
    ),
    "a template that is not UTF-8": (_file("chat_template.jinja", b"\xff"), "not UTF-8"),
    "more layers than the graph": (_decoder(num_hidden_layers=3), "it has 3 layers"),
    "fewer layers than the graph": (_decoder(num_hidden_layers=1), "more than the 1 layers"),
    "other heads": (_decoder(num_key_value_heads=4), "num_key_value_heads is 4"),
    "another head size": (_decoder(head_size=32), "head_size is 32"),
    "another vocabulary": (_config(vocab_size=999), "vocab_size is 999"),
    "a huge count": (_config(context_length=1 << 60), "context_length is"),
    "a count that is no number": (_config(context_length="long"), "context_length is 'long'"),
    "huge layers": (_decoder(num_hidden_layers=1 << 20), "num_hidden_layers is"),
    "a token beyond the vocabulary": (_config(eos_token_id=[2, 99_999]), "eos_token_id is"),
    "a type that is no name": (_config(type="../x"), "type is '../x'"),
    "an input that is not there": (_names("inputs", input_ids="tokens"), "no input 'tokens'"),
    "an output that is not there": (_names("outputs", logits="scores"), "no output 'scores'"),
    "a cache that is not there": (_names("outputs", present_key_names="k.%d"), "no output 'k.0'"),
    "a format string": (_names("inputs", past_key_names="%s%s%s%n"), "one %d for the layer"),
    "a format string of a name": (_names("inputs", input_ids="%d"), "no %"),
    "a graph elsewhere": (_decoder(filename="../model.onnx"), "no name of a file in the folder"),
    "an absolute graph": (_decoder(filename="/etc/passwd"), "no name of a file in the folder"),
    "another part elsewhere": (
        _config(vision={"filename": "../../x.onnx"}),
        "no name of a file in the folder",
    ),
    "a stage elsewhere": (
        _decoder(pipeline=[{"a": {"filename": "/x.onnx"}}]),
        "no name of a file in the folder",
    ),
    "a library": (_session(custom_ops_library="evil.so"), "custom_ops_library"),
    "a profile": (_session(enable_profiling="/tmp/x"), "enable_profiling"),
    "a written model": (_session(**{"session.optimized_model_filepath": "x"}), "optimized_model_filepath"),
    "weights elsewhere": (
        _session(**{"session.model_external_initializers_file_folder_path": "/"}),
        "external_initializers",
    ),
    "a provider's path": (_session(provider_options=[{"qnn": {"backend_path": "/tmp/evil.so"}}]), "the path"),
    "a tokenizer elsewhere": (_config(tokenizer_dir="/etc"), "tokenizer_dir"),
    "session options that are none": (_session(provider_options={"a": 1}), "no list"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_that_does_not_fit_together_is_refused_by_name(folder: Path, what: str) -> None:
    change, why = REFUSED[what]
    change(folder)
    with pytest.raises(FormatError, match=re.escape(why)) as refusal:
        read(folder)
    assert refusal.value.hint
    assert len(refusal.value.message) < 400


def test_what_genai_leaves_out_has_its_own_words(folder: Path) -> None:
    said = made_config()
    del said["model"]["decoder"]["inputs"], said["model"]["decoder"]["outputs"]
    del said["model"]["pad_token_id"], said["search"]
    (folder / "genai_config.json").write_text(json.dumps(said))
    assert read(folder).kv_element_bytes == 4


@pytest.mark.parametrize(
    "name", ["", "/a", "a//b", "../a", "a/..", "./a", "a\\b", "C:a", "a\nb", "a" * 300, "a/" * 9 + "a", " a"]
)
def test_names_stay_in_the_folder(name: str) -> None:
    with pytest.raises(FormatError):
        folder_names.check(name)


@pytest.mark.parametrize("names", [["a", "a"], ["a", "A"], ["a", "a/b"], [f"f{i}" for i in range(1001)]])
def test_files_can_lie_beside_each_other(names: list[str]) -> None:
    with pytest.raises(FormatError):
        folder_names.check_all(names)


def test_a_large_configuration_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "genai_config.json"
    path.write_bytes(b" " * (2 << 20))
    with pytest.raises(FormatError, match="at most"):
        genai_config.read(path)


def test_a_device_is_not_read() -> None:
    with pytest.raises(FormatError, match="not a regular file"):
        bounded_json.read(Path("/dev/zero"), "zero")
