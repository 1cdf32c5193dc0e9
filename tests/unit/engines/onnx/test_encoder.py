"""Encoders on ONNX Runtime: vectors and scores against NumPy, whatever company a text is in."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from hutch.core.errors import EngineFailed, FormatError, HutchError, NotBuilt
from hutch.engines.onnx import providers
from hutch.engines.onnx.encoder import Encoder, Text
from hutch.engines.onnx.encoder_model import of_folder
from tests.onnx_encoders import CLS, POSITIONS, SEP, Numbers, encoder, pooled

LENGTHS = (1, 3, 7, 2, 30, 7)


def text(length: int, seed: int = 0) -> Text:
    """A text of so many tokens between those that open and close it."""
    ids = [CLS, *np.random.default_rng(length + seed).integers(5, 18, length).tolist(), SEP]
    return Text(ids, [0] * len(ids))


def opened(folder: Path) -> Encoder:
    return Encoder(of_folder(folder), num_thread=1)


def modules(*kinds: str) -> str:
    """A modules.json with these, each in a folder of its number."""
    return json.dumps(
        [{"path": f"{index}_{kind}", "type": f"m.{kind}"} for index, kind in enumerate(kinds, start=1)]
    )


TEXTS = [text(length, seed) for seed, length in enumerate(LENGTHS)]


def test_a_batch_gives_each_text_the_vector_that_numpy_gives_it(tmp_path: Path) -> None:
    tiny = encoder(tmp_path)
    vectors = opened(tmp_path).run(TEXTS)
    assert vectors.dtype == np.float32
    for given, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, tiny.mean(given.ids), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "integers"),
    [
        (("input_ids", "attention_mask"), TensorProto.INT64),
        (("input_ids", "attention_mask", "token_type_ids", "position_ids"), TensorProto.INT64),
        (("input_ids", "attention_mask", "token_type_ids"), TensorProto.INT32),
    ],
)
def test_graphs_take_what_they_declare(tmp_path: Path, inputs: tuple[str, ...], integers: int) -> None:
    tiny = encoder(tmp_path, inputs=inputs, integers=integers)
    if "token_type_ids" not in inputs:
        tiny.types[:] = 0
    for given, vector in zip(TEXTS, opened(tmp_path).run(TEXTS), strict=True):
        np.testing.assert_allclose(vector, tiny.mean(given.ids), atol=1e-5)


@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token", "max_tokens", "lasttoken"])
@pytest.mark.parametrize("normalized", [True, False])
def test_texts_are_pooled_as_the_folder_says(tmp_path: Path, mode: str, normalized: bool) -> None:
    tiny = encoder(tmp_path, output="token_embeddings")
    pooled(tmp_path, mode, normalized=normalized)
    for given, vector in zip(TEXTS, opened(tmp_path).run(TEXTS), strict=True):
        states = tiny.states(given.ids)
        wanted = {
            "mean_tokens": states.mean(axis=0),
            "cls_token": states[0],
            "max_tokens": states.max(axis=0),
            "lasttoken": states[-1],
        }[mode]
        wanted = wanted / np.linalg.norm(wanted) if normalized else wanted
        np.testing.assert_allclose(vector, wanted, atol=1e-5)


def test_dense_layers_come_behind_pooling(tmp_path: Path) -> None:
    tiny = encoder(tmp_path)
    weight: Numbers = np.random.default_rng(2).normal(size=(5, 8)).astype(np.float32)
    pooled(tmp_path, "mean_tokens", denses={"2_Dense": weight})
    model = opened(tmp_path)
    assert model.width == 5
    for given, vector in zip(TEXTS, model.run(TEXTS), strict=True):
        wanted = np.tanh(weight @ tiny.states(given.ids).mean(axis=0))
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_a_graph_that_pools_itself_is_believed(tmp_path: Path) -> None:
    tiny = encoder(tmp_path, output="sentence_embedding")
    same = [text(4, seed) for seed in range(3)]  # this one sums padding up too
    for given, vector in zip(same, opened(tmp_path).run(same), strict=True):
        np.testing.assert_allclose(vector, tiny.mean(given.ids), atol=1e-5)


@pytest.mark.parametrize("labels", [1, 2])
def test_a_reranker_scores_pairs(tmp_path: Path, labels: int) -> None:
    tiny = encoder(tmp_path, labels=labels)
    pairs = [Text(each.ids, [0, *([1] * (len(each.ids) - 1))]) for each in TEXTS]
    model = opened(tmp_path)
    assert (model.config.is_reranker, model.width) == (True, 1)
    for given, (score,) in zip(pairs, model.run(pairs), strict=True):
        logits = tiny.logits(given.ids, given.types)
        wanted = 1 / (1 + np.exp(-logits[0])) if labels == 1 else np.exp(logits[1]) / np.exp(logits).sum()
        np.testing.assert_allclose(score, wanted, atol=1e-5)


def test_a_reranker_without_a_sigmoid_gives_its_logit(tmp_path: Path) -> None:
    said = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
    tiny = encoder(tmp_path, labels=1, config=said)
    for given, (score,) in zip(TEXTS, opened(tmp_path).run(TEXTS), strict=True):
        np.testing.assert_allclose(score, tiny.logits(given.ids, given.types)[0], atol=1e-4)


def test_a_quantised_graph_runs_as_it_is(tmp_path: Path) -> None:
    tiny = encoder(tmp_path)
    float_path = tmp_path / "float.onnx"
    (tmp_path / "model.onnx").rename(float_path)
    quantize_dynamic(float_path, tmp_path / "model.onnx", weight_type=QuantType.QInt8)
    assert "MatMulInteger" in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    for given, vector in zip(TEXTS, opened(tmp_path).run(TEXTS), strict=True):
        assert vector @ tiny.mean(given.ids) > 0.99


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", "config.json: not valid JSON"),
        ("config.json", "[]", "config.json: not a JSON object"),
        ("config.json", {"hidden_size": 0}, "hidden_size is 0"),
        ("config.json", {"hidden_size": True}, "hidden_size is True"),
        ("config.json", {"model_type": "../x"}, "model_type is '../x'"),
        ("config.json", {"max_position_embeddings": 2}, "2 tokens, which hold no text"),
        ("config.json", {"max_position_embeddings": 1 << 40}, "max_position_embeddings"),
        ("config.json", {"pad_token_id": -1}, "pad_token_id is -1"),
        (
            "config.json",
            {"id2label": dict.fromkeys("abc"), "architectures": ["XForSequenceClassification"]},
            "3 labels",
        ),
        ("config.json", {"sbert_ce_default_activation_function": "torch.nn.GELU"}, "'torch.nn.GELU'"),
        ("modules.json", "{}", "a list of modules"),
        ("modules.json", "[1]", "without path and type"),
        ("modules.json", '[{"path": "", "type": "a.Transformer"}, {"path": "x", "type": "a.LSTM"}]', "LSTM"),
        ("modules.json", modules("Transformer", "Dense", "Pooling"), "Dense, Pooling' is not built"),
        ("modules.json", modules("Transformer", "Pooling", "Normalize", "Dense"), "is not built"),
        ("modules.json", modules("Transformer", "Pooling"), "2_Pooling/config.json' is missing"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_weightedmean_tokens": True},
            "weightedmean_tokens' is not built",
        ),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, "with"),
        ("model.onnx", "nonsense", "no execution provider of the plan runs the model"),
    ],
)
def test_a_folder_that_says_nonsense_is_refused(
    tmp_path: Path, name: str, content: object, words: str
) -> None:
    encoder(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps((json.loads(path.read_text()) if path.exists() else {}) | content)
    path.write_text(str(content))
    with pytest.raises(HutchError, match="(?s)" + words):
        opened(tmp_path)


def test_a_file_too_large_to_be_a_configuration_is_not_read(tmp_path: Path) -> None:
    encoder(tmp_path)
    (tmp_path / "config.json").write_text(" " * (5 << 20))
    with pytest.raises(FormatError, match="more than 4 MiB"):
        opened(tmp_path)


def test_a_dense_layer_of_another_shape_or_a_pickled_one_is_refused(tmp_path: Path) -> None:
    encoder(tmp_path / "shape")
    pooled(tmp_path / "shape", "mean_tokens", denses={"2_Dense": np.zeros((5, 7), np.float32)})
    with pytest.raises(FormatError, match=r"linear.weight of shape \[5, 8\]"):
        opened(tmp_path / "shape")
    encoder(tmp_path / "pickle")
    pooled(tmp_path / "pickle", "mean_tokens", denses={"2_Dense": np.zeros((5, 8), np.float32)})
    (tmp_path / "pickle/2_Dense/model.safetensors").rename(tmp_path / "pickle/2_Dense/pytorch_model.bin")
    with pytest.raises(FormatError, match=r"2_Dense/model.safetensors' is missing"):
        opened(tmp_path / "pickle")


def test_graphs_of_other_kinds_are_refused(tmp_path: Path) -> None:
    encoder(tmp_path / "output", output="hidden")
    with pytest.raises(NotBuilt, match=r"\['hidden'\]; sentence_embedding or last_hidden_state"):
        opened(tmp_path / "output")
    encoder(tmp_path / "ranks", config={"architectures": ["BertForSequenceClassification"], "num_labels": 1})
    with pytest.raises(NotBuilt, match="logits is needed"):
        opened(tmp_path / "ranks")
    encoder(tmp_path / "size", config={"hidden_size": 16})
    with pytest.raises(EngineFailed, match=r"shape \(1, 3, 8\); \(1, 3, 16\) is needed"):
        opened(tmp_path / "size").run([text(1)])
    encoder(tmp_path / "none").folder.joinpath("model.onnx").unlink()
    with pytest.raises(FormatError, match="has no ONNX file"):
        opened(tmp_path / "none")


def test_the_only_graph_is_taken_whatever_its_name(tmp_path: Path) -> None:
    tiny = encoder(tmp_path)
    (tmp_path / "model.onnx").rename(tmp_path / "model_quantized.onnx")
    np.testing.assert_allclose(opened(tmp_path).run(TEXTS)[0], tiny.mean(TEXTS[0].ids), atol=1e-5)
    for name in ("one", "other"):
        (tmp_path / f"{name}.onnx").touch()
    with pytest.raises(FormatError, match=r"none is model\.onnx"):
        opened(tmp_path)


def test_what_is_no_number_is_never_given_as_a_vector(tmp_path: Path) -> None:
    encoder(tmp_path)
    pooled(tmp_path, "mean_tokens", denses={"2_Dense": np.full((5, 8), np.nan, np.float32)})
    with pytest.raises(EngineFailed, match="no number"):
        opened(tmp_path).run([text(1)])


@pytest.mark.parametrize("labels", [0, 1])
def test_a_provider_that_gives_other_results_than_the_cpu_is_stepped_down_from(
    tmp_path: Path, labels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = encoder(tmp_path, labels=labels)
    other = onnx.load(tmp_path / "model.onnx")
    words = next(each for each in other.graph.initializer if each.name == "words")
    words.CopyFrom(onnx.numpy_helper.from_array(-tiny.words, "words"))
    onnx.save(other, tmp_path / "other.onnx")
    cpu = providers._open

    def opens(model: Path, item: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        return cpu(tmp_path / "other.onnx" if item == "openvino:npu" else model, "cpu", options)

    monkeypatch.setattr(providers, "_open", opens)
    model = Encoder(of_folder(tmp_path), 1, ("openvino:npu", "openvino:gpu", "cpu"))
    assert model.report["providers"] == ["openvino:gpu"]
    [fallback] = model.report["fallbacks"]
    assert fallback["provider"] == "openvino:npu"
    assert "not the CPU's" in fallback["reason"]
    alone = Encoder(of_folder(tmp_path), 1)
    np.testing.assert_array_equal(model.run(TEXTS), alone.run(TEXTS))


def test_a_step_that_fails_says_so(tmp_path: Path) -> None:
    encoder(tmp_path)
    with pytest.raises(EngineFailed, match="could not be run"):
        opened(tmp_path).run([Text([10_000], [0])])


def test_the_smallest_limit_of_the_folder_counts(tmp_path: Path) -> None:
    encoder(tmp_path)
    assert opened(tmp_path).config.max_tokens == POSITIONS
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": int(1e30)}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}))
    assert opened(tmp_path).config.max_tokens == 20
    encoder(tmp_path, config={"model_type": "xlm-roberta", "pad_token_id": 1})
    (tmp_path / "sentence_bert_config.json").unlink()
    assert opened(tmp_path).config.max_tokens == POSITIONS - 2
