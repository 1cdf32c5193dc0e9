"""Settings: the file below the environment below flags."""

import os
from pathlib import Path

import pytest

from hutch import config
from hutch.core.durations import FOREVER
from hutch.core.errors import BadInput


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and an environment that says nothing else."""
    for name in tuple(os.environ):
        if name.startswith(("HUTCH_", "OLLAMA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HUTCH_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, text: str) -> None:
    (home / "hutch.toml").write_text(text, encoding="utf-8")


def test_without_a_word_everything_has_its_default() -> None:
    settings = config.load()
    assert (settings.keep_alive, settings.load_timeout, settings.max_queue) == (300.0, 300.0, 512)
    assert (settings.num_parallel, settings.context_length, settings.num_gpu) == (0, 0, -1)
    assert (settings.kv_cache_type, settings.origins, settings.auth) == ("auto", (), "auto")


def test_each_place_hides_the_ones_below_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "max_queue = 1")
    assert config.load().max_queue == 1
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "2")
    assert config.load().max_queue == 2
    monkeypatch.setenv("HUTCH_MAX_QUEUE", "3")
    assert config.load().max_queue == 3
    assert config.load(max_queue=4).max_queue == 4
    assert config.load(max_queue=None).max_queue == 3


def test_places_add_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, 'max_queue = 1\norigins = ["a", "b"]\nkeep_alive = "1h"\nflash_attention = true')
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "2")
    settings = config.load(num_thread=3)
    assert (settings.max_queue, settings.num_parallel, settings.num_thread) == (1, 2, 3)
    assert (settings.origins, settings.keep_alive, settings.flash_attention) == (("a", "b"), 3600.0, True)


def test_a_model_of_the_settings_has_a_models_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.load(knowledge_model="none").knowledge_model == "none"
    monkeypatch.setenv("HUTCH_KNOWLEDGE_MODEL", "a//b")
    with pytest.raises(BadInput, match=r"^setting 'knowledge_model': invalid model name"):
        config.load()


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(config.load(), "max_queue", 5)  # noqa: B010


@pytest.mark.parametrize(
    ("text", "name"),
    [("colour = 1", "colour"), ("[server]\nport = 1", "server"), ("maxqueue = 5", "maxqueue")],
)
def test_an_unknown_key_of_the_file_is_named(home: Path, text: str, name: str) -> None:
    write(home, text)
    with pytest.raises(BadInput, match=f"setting '{name}'") as caught:
        config.load()
    assert str(home / "hutch.toml") in caught.value.hint


@pytest.mark.parametrize("text", ["=", "max_queue = ", "[", "max_queue = 1\nmax_queue = 2", "\ufeff\0"])
def test_a_file_that_is_no_toml_is_named(home: Path, text: str) -> None:
    write(home, text)
    with pytest.raises(BadInput, match=r"hutch\.toml: ") as caught:
        config.load()
    assert caught.value.hint


@pytest.mark.parametrize("name", ["HUTCH_COLOUR", "OLLAMA_COLOUR", "HUTCH_API_KEY", "OLLAMA_NOPRUNE"])
def test_other_variables_are_passed_over(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = config.load()
    monkeypatch.setenv(name, "x")
    assert config.load() == before


@pytest.mark.parametrize("value", ["true", "1", "none", "x"])
def test_ollamas_switch_of_its_clients_is_not_ours(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OLLAMA_AUTH", value)
    assert config.load().auth == "auto"
    monkeypatch.setenv("HUTCH_AUTH", "none")
    assert config.load().auth == "none"


BAD = [
    ("max_queue", "x"), ("max_queue", "-1"), ("max_queue", "1.5"), ("num_parallel", "257"), ("num_parallel", "four"),
    ("context_length", "-1"), ("context_length", "99999999999"), ("num_gpu", "-2"), ("kv_cache_type", "q3"), ("auth", "maybe"),
    ("flash_attention", "perhaps"), ("keep_alive", "soon"), ("keep_alive", "5 m"), ("keep_alive", "1.5"), ("load_timeout", "never"),
    ("max_vram", "8Q"), ("max_vram", "-1"), ("gpu_overhead", "much"), ("max_vram", "9" * 400 + "G"), ("num_gpu", "1_0_"), ("debug", "x"),
    ("max_vram", "4,5GB"), ("max_vram", "1.5.5GB"), ("max_body_mib", "0"), ("max_body_mib", "4097"), ("keep_alive", "²"), ("keep_alive", "nan"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_names_its_setting_wherever_it_stands(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(BadInput, match=f"setting '{name}'"):
        config.load(**{name: value})
    monkeypatch.setenv(f"HUTCH_{name.upper()}", value)
    with pytest.raises(BadInput, match=f"setting '{name}'") as caught:
        config.load()
    assert f"HUTCH_{name.upper()}" in caught.value.hint
    monkeypatch.delenv(f"HUTCH_{name.upper()}")
    write(home, f'{name} = "{value}"')
    with pytest.raises(BadInput, match=f"setting '{name}'"):
        config.load()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("keep_alive", "300", 300.0), ("keep_alive", "5m", 300.0), ("keep_alive", "1h30m", 5400.0), ("keep_alive", "0", 0.0),
        ("keep_alive", "-1", FOREVER), ("keep_alive", "-1m", FOREVER), ("keep_alive", " '10s' ", 10.0),
        ("load_timeout", "30s", 30.0), ("load_timeout", "0", FOREVER), ("load_timeout", "-1", FOREVER),
        ("max_queue", '"7"', 7), ("max_queue", " 7 ", 7), ("max_queue", " ' 7 ' ", 7), ("kv_cache_type", "'q8_0'", "q8_0"),
        ("flash_attention", "1", True), ("flash_attention", '"true"', True), ("flash_attention", "false", False), ("flash_attention", "0", False),
        ("origins", "a", ("a",)), ("origins", " a , b,,", ("a", "b")), ("origins", '"http://*.x,app://y"', ("http://*.x", "app://y")),
        ("max_vram", "8G", 8 * 10**9), ("max_vram", "'512 MiB'", 512 << 20), ("gpu_overhead", "1073741824", 1 << 30),
        ("debug", "1", True), ("debug", "no", False),
        ("origins", "*", ("*",)), ("llama_server", "/opt/llama-server", Path("/opt/llama-server")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["HUTCH_", "OLLAMA_"])
def test_a_variable_is_read_without_spaces_and_quotes(
    monkeypatch: pytest.MonkeyPatch, prefix: str, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(prefix + name.upper(), text)
    assert getattr(config.load(), name) == value


@pytest.mark.parametrize("name", config.Settings.model_fields)
def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = config.load()
    for nothing in ("", '""', " ' ' "):
        monkeypatch.setenv(f"HUTCH_{name.upper()}", nothing)
        monkeypatch.setenv(f"OLLAMA_{name.upper()}", nothing)
        assert config.load() == before


@pytest.mark.parametrize("name", ["flash_attention", "debug"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", True),
        ("perhaps", True),
        ("T", True),
        ("yes", True),
        ("F", False),
        ("FALSE", False),
        (" '0' ", False),
    ],
)
def test_an_odd_word_in_a_switch_of_ollamas_means_yes(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: bool
) -> None:
    monkeypatch.setenv(f"OLLAMA_{name.upper()}", text)
    assert getattr(config.load(), name) is value


def test_layers_on_the_gpu_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("OLLAMA_GPU_LAYERS", 1), ("OLLAMA_NUM_GPU", 2), ("HUTCH_GPU_LAYERS", 3)):
        monkeypatch.setenv(name, str(value))
        assert config.load().num_gpu == value


def test_each_value_is_known_by_its_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "max_queue = 1\nnum_parallel = 2")
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "2")
    monkeypatch.setenv("HUTCH_NUM_GPU", "''")
    origins = config.origins()
    assert (origins["max_queue"], origins["num_parallel"]) == ("OLLAMA_MAX_QUEUE", str(home / "hutch.toml"))
    assert origins["num_gpu"] == "default"
