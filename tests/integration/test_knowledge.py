"""Documents of a model, by the commands and routes that people use, with the real model."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODEL, Server, clean_environment
from tests.contract.live import own_models, serving
from tests.pdf_files import encrypted, pdf

_MODELFILE = """# The guide's own lines.
FROM {model}
PARAMETER context_length 2048
PARAMETER num_gpu 0
PARAMETER num_thread 2
SYSTEM \"\"\"
You are an enterprise assistant.
\"\"\"

FILE ./guidelines.txt
FILE ./security_protocols.pdf
"""
_QUESTION = [{"role": "user", "content": "What colour is the badge of visitors?"}]


@pytest.fixture(scope="module")
def house(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with models to change, and beside its home the guide's Modelfile in lower case."""
    folder = tmp_path_factory.mktemp("knowledge")
    (folder / "modelfile").write_text(_MODELFILE.format(model=MODEL))
    (folder / "guidelines.txt").write_text("Contoso opens at seven.\n")
    (folder / "security_protocols.pdf").write_bytes(pdf("The badge of visitors is violet."))
    (folder / "manual.txt").write_text(
        "Filler of no use. " * 4000 + "The badge of visitors is violet. " + "More filler. " * 4000
    )
    with serving(folder / "home", own_models(models_dir, folder / "models")) as server:
        yield server


def hutch(house: Server, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "hutch", *words],
        env=clean_environment(HUTCH_HOME=str(house.home), HUTCH_HOST=house.url),
        cwd=house.home.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def ask(house: Server, model: str, **more: Any) -> dict[str, Any]:
    options = {"temperature": 0, "num_predict": 16}
    body = {"model": model, "messages": _QUESTION, "stream": False, "options": options, **more}
    status, reply = house.post("/api/chat", body)
    assert status == 200, reply
    return dict(reply)


def test_the_guides_modelfile_makes_a_model_that_knows_its_documents(house: Server) -> None:
    made = hutch(house, "create", "assistant")
    assert made.returncode == 0, made.stderr
    with_documents = ask(house, "assistant")
    assert "violet" in with_documents["message"]["content"].lower()
    told = {"model": "assistant", "messages": _QUESTION, "temperature": 0, "max_tokens": 16}
    status, reply = house.post("/v1/chat/completions", told)
    assert (status, reply["usage"]["prompt_tokens"]) == (200, with_documents["prompt_eval_count"])
    body = {"model": "assistant", "prompt": "Hi", "raw": True, "stream": False, "options": {"num_predict": 1}}
    assert house.post("/api/generate", body)[1]["prompt_eval_count"] < 5


def test_what_is_shown_makes_the_same_model_again(house: Server) -> None:
    shown = hutch(house, "show", "assistant", "--modelfile").stdout
    assert shown.count("\nFILE ") == 2
    (house.home / "again").write_text(shown)
    assert hutch(house, "create", "again", "-f", str(house.home / "again")).returncode == 0
    digests = {row["name"]: row["digest"] for row in house.get("/api/tags")["models"]}
    described = [house.post("/api/show", {"model": name})[1] for name in ("assistant", "again")]
    assert described[0]["documents"] == described[1]["documents"]
    assert described[0]["system"] == described[1]["system"]
    assert {"assistant:latest", "again:latest"} <= set(digests)


def test_of_a_long_document_the_passage_that_matters_is_told(house: Server) -> None:
    (house.home.parent / "Long").write_text(f"FROM {MODEL}\nPARAMETER num_ctx 1024\nFILE manual.txt")
    assert hutch(house, "create", "long", "-f", "Long").returncode == 0
    reply = ask(house, "long")
    assert 256 < reply["prompt_eval_count"] < 768
    assert "violet" in reply["message"]["content"].lower()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("FILE locked.pdf", "Error: (line 2): documents.locked.pdf: is encrypted"),
        ("RENDERER nix", "Error: (line 2): renderer: 'nix' is not known"),
        ('TEMPLATE """\n\n{{ if }}"""', "Error: template error: line 4: "),
    ],
)
def test_a_server_that_refuses_is_told_with_the_line(house: Server, lines: str, message: str) -> None:
    (house.home.parent / "locked.pdf").write_bytes(encrypted(pdf("Secret.")))
    (house.home.parent / "Bad").write_text(f"FROM {MODEL}\n{lines}")
    made = hutch(house, "create", "bad", "-f", "Bad")
    assert made.returncode == 2
    assert message in made.stderr


def test_a_model_that_requires_more_is_not_loaded(house: Server) -> None:
    body = {"model": "x", "from": MODEL, "requires": "99.0.0", "stream": False}
    assert house.post("/api/create", body)[0] == 400
    assert house.post("/api/create", {**body, "model": "soon", "requires": "0.1.0"})[0] == 200
    described = house.post("/api/show", {"model": "soon"})[1]
    assert described["requires"] == "0.1.0"
