"""Where things are."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch import places
from hutch.config import Settings
from hutch.core.errors import BadInput
from hutch.places import Address


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith(("HUTCH_", "OLLAMA_", "PIP_", "CUDA_", "HIP_", "ROCR_", "GGML_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        (":66000", "http://:11434"),
        (":-1", "http://:11434"),
        ("example.com:66000", "http://example.com:11434"),
        (":0", "http://:0"),
        ("127.0.0.1:0", "http://127.0.0.1:0"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]:1337", "http://[::]:1337"),
        ("[::1]:", "http://[::1]:11434"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        ("'1.2.3.4'", "http://1.2.3.4:11434"),
        (' " 1.2.3.4 " ', "http://1.2.3.4:11434"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("http://1.2.3.4:5", "http://1.2.3.4:5"),
        ("https://1.2.3.4", "https://1.2.3.4:443"),
        ("https://1.2.3.4:5", "https://1.2.3.4:5"),
        ("https://example.com/ollama", "https://example.com:443/ollama"),
        ("example.com/a/b/", "http://example.com:11434/a/b"),
        ("http://example.com/", "http://example.com:80"),
        ("ollama.com", "https://ollama.com:443"),
        ("http://ollama.com", "http://ollama.com:80"),
    ],
)
def test_an_address_may_lack_any_part(text: str, url: str) -> None:
    assert Address.parse(text).url == url


@pytest.mark.parametrize("text", ["ftp://h", "unix:///run/x", "HTTP://h", "://h", "javascript://x"])
def test_another_scheme_is_refused(text: str) -> None:
    if text == "://h":
        assert Address.parse(text).url == "http://h:11434"
        return
    with pytest.raises(BadInput, match="invalid address"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["host:1:2:3", "a b", "a b:1", "h?x", "h#x", "[::1", "1::2::3"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="invalid address"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("1.2.3.4:abc", "'abc' is no port, so 11434 is used"),
        ("127.0.0.1:99999", "'99999' is no port, so 11434 is used"),
        ("http://h:-1", "'-1' is no port, so 80 is used"),
        ("h:1", ""),
        ("h:", ""),
        ("::1", ""),
    ],
)
def test_a_port_that_is_none_is_passed_over_with_a_remark(text: str, remark: str) -> None:
    assert Address.parse(text).remark == remark


def test_an_address_holds_no_secrets() -> None:
    with pytest.raises(BadInput, match="no user or password") as caught:
        Address.parse("http://user:secret@h:1/x")
    assert "secret" not in caught.value.message


@given(st.text(alphabet="a1.:/[]-% ٣²", max_size=12) | st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except BadInput:
        return
    assert 0 <= address.port <= 65535
    assert not address.url.endswith("/")


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("", True), ("localhost", True), ("127.0.0.1:5", True), ("127.1.2.3", True), ("[::1]:5", True), ("0.0.0.0", False), (":5", False),
        ("[::]", False), ("192.168.1.5", False), ("example.com", False), ("127.evil.com", False), ("127.0.0.1.nip.io", False),
        ("localhost.evil.com", False), ("127.", False),
    ],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(text: str, is_loopback: bool) -> None:
    assert Address.parse(text).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"), (":1234", "http://127.0.0.1:1234"), ("[::]:5", "http://[::1]:5"),
        ("https://example.com/x", "https://example.com:443/x"),
    ],
)  # fmt: skip
def test_a_client_asks_a_server_of_every_interface_on_the_loopback_one(text: str, url: str) -> None:
    assert Address.parse(text).for_client.url == url


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:11434"),
        ({"OLLAMA_HOST": ":1"}, "http://:1"),
        ({"HUTCH_HOST": ":2", "OLLAMA_HOST": ":1"}, "http://:2"),
        ({"HUTCH_HOST": " ", "OLLAMA_HOST": "'h:1'"}, "http://h:1"),
    ],
)
def test_the_servers_address_is_hutchs_before_ollamas(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert places.server_address().url == url


@pytest.mark.parametrize(
    ("variables", "home", "models"),
    [
        ({}, "/u/.hutch", "/u/.hutch/models"),
        ({"HUTCH_HOME": "/h"}, "/h", "/h/models"),
        ({"HUTCH_HOME": "~/h"}, "/u/h", "/u/h/models"),
        ({"HUTCH_HOME": '"/h"', "OLLAMA_MODELS": "/o"}, "/h", "/o"),
        ({"HUTCH_MODELS": "~/m", "OLLAMA_MODELS": "/o"}, "/u/.hutch", "/u/m"),
    ],
)
def test_folders_are_where_the_variables_say(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], home: str, models: str
) -> None:
    monkeypatch.setenv("HOME", "/u")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (places.home(), places.models()) == (Path(home), Path(models))


def test_relative_folders_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUTCH_HOME", "here")
    assert places.home() == tmp_path / "here"


@pytest.mark.parametrize(
    ("value", "is_kept"),
    [
        ("", True),
        ("0", True),
        ("false", True),
        ("1", False),
        ("true", False),
        ("yes", False),
        ("F", True),
        ("2", False),
    ],
)
def test_history_is_kept_unless_forbidden(monkeypatch: pytest.MonkeyPatch, value: str, is_kept: bool) -> None:
    monkeypatch.setenv("OLLAMA_NOHISTORY", value)
    assert (places.history_file() is not None) is is_kept


def test_no_worker_sends_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "0"):
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", value)
        assert places.worker_environment()["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_workers_environment_holds_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"HUTCH_API_KEY", "OLLAMA_API_KEY", "HF_TOKEN", "PGPASSWORD", "DB_SECRET", "PIP_INDEX_URL"}
    for name in (*secrets, "CUDA_VISIBLE_DEVICES", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "x")
    kept = places.worker_environment()
    assert not secrets & set(kept)
    assert {"PATH", "CUDA_VISIBLE_DEVICES", "GOMP_SPINCOUNT"} <= set(kept)


@pytest.mark.parametrize("name", places._FOR_ITS_DEVICES)
def test_a_worker_gets_what_chooses_its_devices(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "0")
    assert places.worker_environment()[name] == "0"


def test_every_setting_of_a_server_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"HUTCH_{field.upper()}" for field in (*Settings.model_fields, "models")]
    for name in names:
        monkeypatch.setenv(name, "1")
    assert set(places.server_settings()) == set(names)


def test_what_is_empty_or_for_ollamas_clients_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("OLLAMA_AUTH", "1"), ("HUTCH_NUM_GPU", " "), ("CUDA_VISIBLE_DEVICES", "")):
        monkeypatch.setenv(name, value)
    assert places.server_settings() == {"CUDA_VISIBLE_DEVICES": ""}  # an empty one hides every device


def test_settings_that_only_a_server_heeds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.server_settings() == {}
    for name in ("OLLAMA_NUM_PARALLEL", "CUDA_VISIBLE_DEVICES", "OLLAMA_HOST"):
        monkeypatch.setenv(name, "1")
    assert places.server_settings() == {"OLLAMA_NUM_PARALLEL": "1", "CUDA_VISIBLE_DEVICES": "1"}


@pytest.mark.parametrize("name", ["tiny:latest", "hf.co/me/m:Q4", "host:5000/me/m:t"])
def test_a_models_log_is_a_file_of_the_logs_folder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HUTCH_HOME", "/h")
    assert places.log_file(name).parent == Path("/h/logs")


def test_pips_variables_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "x")
    monkeypatch.setenv("SOMETHING", "y")
    told = places.pip_environment()
    assert told["PIP_INDEX_URL"] == "x"
    assert "SOMETHING" not in told
