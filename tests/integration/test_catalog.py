"""The catalog from outside: pulling by its names from a real registry, the table, and what is said about names that nobody has."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch.core.errors import SourceFailed
from hutch.store import catalog
from hutch.store.store import ModelStore
from tests.conftest import MODEL, Server, clean_environment, free_port
from tests.integration.test_store_onnx import contents, of_folder, publish
from tests.oci_registry import oci_registry
from tests.onnx_files import write_llama
from tests.unit.store.faulty_server import faulty_server
from tests.unit.store.test_cards_file import CARD, layer
from tests.unit.store.things import name, statuses

SOURCE = "phi4-mini:3.8b-q4_K_M"  # under this path of Ollama's registry the catalog has Phi-4-mini
Hutch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[str], Path]) -> Iterator[str]:
    """A registry that has the small real model where the catalog looks for Phi-4-mini. Gives what HUTCH_REGISTRY says."""
    with oci_registry(tmp_path_factory.mktemp("mirror")) as host:
        store = ModelStore(_linked(stocked("gguf"), tmp_path_factory.mktemp("publisher")), catalog.load)
        store.copy(name(MODEL), name(f"{host}/library/{SOURCE}"))
        statuses(store.push(name(f"{host}/library/{SOURCE}"), insecure=True))
        yield f"http://{host}"


def _linked(source: Path, target: Path) -> Path:
    for path in source.rglob("*"):
        if path.is_file() and ".loaded" not in path.parts:
            link = target / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)
    return target


@pytest.fixture
def hutch(tmp_path: Path) -> Hutch:
    """Run a command as a user does, where nothing listens and no registry but a mirror can be reached."""
    environment = clean_environment(
        HUTCH_HOME=str(tmp_path / "home"),
        HUTCH_HOST=f"127.0.0.1:{free_port()}",
        DOCKER_CONFIG=str(tmp_path / "docker"),
    )

    def run(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "hutch", *words],
            env=environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def test_a_name_of_the_catalog_is_pulled_by_every_name_it_has(hutch: Hutch, mirror: str) -> None:
    for words in (
        ("models", "pull", "microsoft/phi-4-mini"),
        ("pull", "phi4:mini"),
        ("pull", "phi4:mini-q4_k_m"),
        ("pull", SOURCE),
    ):
        done = hutch(*words, HUTCH_REGISTRY=mirror)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "success")
        told = done.stderr.splitlines()
        assert f"from {mirror.removeprefix('http://')}/library/{SOURCE}, about 2.5 GB" in told[1]
        assert told[2].startswith("it needs about 4.8 GB of memory")
    listed = json.loads(hutch("list", "--json").stdout)["models"]
    assert {each["name"] for each in listed} == {
        "microsoft/phi-4-mini:latest",
        "phi4:mini",
        "phi4:mini-q4_k_m",
        SOURCE,
    }
    assert len({each["digest"] for each in listed}) == 1


def test_a_name_that_the_catalog_lacks_goes_to_the_registry_and_a_typo_gets_advice(
    hutch: Hutch, mirror: str
) -> None:
    done = hutch("models", "pull", "ph4:mini", HUTCH_REGISTRY=mirror)
    assert done.returncode == 4
    assert "Error: pull model manifest: file does not exist" in done.stderr
    assert "Did you mean phi4:mini" in done.stderr


def test_a_server_pulls_by_the_catalog_and_answers(
    serve: Callable[..., Server], mirror: str, tmp_path: Path
) -> None:
    server = serve(tmp_path / "models", REGISTRY=mirror)
    status, lines = server.post("/api/pull", {"model": "phi4:mini"})
    assert (status, lines[-1]) == (200, {"status": "success"})
    assert lines[1]["status"].startswith("phi4:mini: q4_k_m, GGUF from ")
    body = {"model": "phi4:mini", "prompt": "Hi", "stream": False, "options": {"num_predict": 3}}
    assert server.post("/api/generate", body)[1]["done"] is True
    table = server.get("/api/catalog")
    (phi,) = [each for each in table["models"] if each["name"] == "phi4-mini:3.8b"]
    assert phi["installed"] == ["phi4:mini"]
    assert [each["id"] for each in server.get("/v1/models")["data"]] == ["phi4:mini"]


def test_the_table_is_the_same_with_and_without_a_server(server: Server) -> None:
    def listed(*words: str, **where: str) -> Any:
        settings = {"HUTCH_HOME": str(server.home), "HUTCH_MODELS": _models_of(server)} | where
        done = subprocess.run(
            [sys.executable, "-m", "hutch", "models", "list", "--json", *words],
            env=clean_environment(**settings),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return json.loads(done.stdout)

    words = ("--size", "small", "--type", "instruct")
    there, here = listed(*words, HUTCH_HOST=server.url), listed(*words, HUTCH_HOST=f"127.0.0.1:{free_port()}")
    assert there == here == server.get("/api/catalog?size=small&type=instruct")
    (small,) = [each for each in there["models"] if each["name"] == MODEL]
    assert small["installed"] == [MODEL]
    assert len(server.get("/api/catalog")["models"]) > len(there["models"])


def _models_of(server: Server) -> str:
    return (server.home / "serve.log").read_text().split("models in ")[1].splitlines()[0]


def test_a_bad_query_is_refused(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{server.url}/api/catalog?size=tiny", timeout=10)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["error"]) == (400, "size 'tiny' is not known")


def test_the_query_is_described(server: Server) -> None:
    described = server.get("/openapi.json")["paths"]["/api/catalog"]["get"]["parameters"]
    known = {each["name"]: each["schema"].get("enum") for each in described}
    assert known.pop("prefix") is None
    assert known.keys() == {"size", "type", "format", "device"}
    for name_, values in known.items():
        for value in values:
            assert "models" in server.get(f"/api/catalog?{name_}={value}")


def test_the_guides_listing_prints_a_table(hutch: Hutch) -> None:
    assert hutch("models", "list").returncode == 0
    done = hutch("models", "list", "--size", "small", "--type", "instruct")
    assert done.returncode == 0
    assert any(
        row.split()[:2] == ["phi4-mini:3.8b", "microsoft/phi-4-mini"] for row in done.stdout.splitlines()
    )
    assert "phi4:14b" not in done.stdout
    rows = hutch("models", "list", "phi4:mini", "--variants").stdout.splitlines()
    assert [row.split()[0] for row in rows[1:4]] == [
        "phi4-mini:3.8b-q4_k_m",
        "phi4-mini:3.8b-q8_0",
        "phi4-mini:3.8b-f16",
    ]
    refused = hutch("models", "list", "--type", "chatty")
    assert (refused.returncode, refused.stdout) == (2, "")
    none = hutch("models", "list", "--device", "npu")
    assert (none.returncode, none.stdout) == (0, "")
    assert json.loads(hutch("models", "list", "--device", "npu", "--json").stdout)["models"] == []


def test_a_catalog_of_a_company_is_merged_and_a_hostile_one_refused(hutch: Hutch) -> None:
    with faulty_server() as company:
        company.files["/c.toml"] = CARD.encode()
        where = {"HUTCH_CATALOG": f"{company.url}/c.toml"}
        assert "acme/house-7b" in hutch("models", "list", **where).stdout
        company.files["/d.toml"] = CARD.replace("registry.acme.example/models", "..").encode()
        refused = hutch("models", "list", HUTCH_CATALOG=f"{company.url}/d.toml")
    assert refused.returncode == 2
    assert (
        f"{company.url}/d.toml: line 13: model house:7b: variants.0.pull: invalid model name"
        in refused.stderr
    )
    assert "acme/house-7b" in hutch("models", "list", **where).stdout  # by the copy
    gone = hutch("pull", "house:7b", HUTCH_CATALOG=f"{company.url}/e.toml")
    assert gone.returncode == 7


def test_what_is_reachable_is_pulled_by_its_publishers_name(
    stocked: Callable[[str], Path], tmp_path: Path
) -> None:
    store = ModelStore(_linked(stocked("gguf"), tmp_path / "models"), catalog.load)
    statuses(store.pull(name("huggingfacetb/smollm2-135m")))
    statuses(store.pull(name("sentence-transformers/all-minilm-l6-v2")))
    there = {each.name.short: each.details.quantization_level for each in store.list()}
    assert there["huggingfacetb/smollm2-135m:latest"] == "Q4_1"
    assert there["sentence-transformers/all-minilm-l6-v2:latest"] == "F16"


def test_a_variant_in_onnx_is_one_folder_of_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, other = write_llama(tmp_path / "a"), write_llama(tmp_path / "b", template="{{ 'other' }}")
    text = CARD.replace(
        'tag = "q8_0", pull = "registry.acme.example/models/house:7b-q8"',
        'tag = "onnx-cpu-int4", format = "onnx", quantization = "int4", devices = ["cpu"], '
        'pull = "hf.co/me/tiny-onnx", folder = "one/cpu/int4"',
    )
    store = ModelStore(tmp_path / "models", lambda: catalog.load(None, [layer(text)]))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with faulty_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        files = {f"one/cpu/int4/{path}": data for path, data in of_folder(wanted).items()}
        files |= {f"two/cpu/int4/{path}": data for path, data in of_folder(other).items()}
        publish(hub, files)
        told = statuses(store.pull(name("acme/house-7b:onnx")))
        assert "onnx-cpu-int4, ONNX from hf.co/me/tiny-onnx:latest" in told[1]
        assert contents(store.open(name("acme/house-7b:onnx")).files) == of_folder(wanted)
        publish(hub, {"README.md": b"x"})
        with pytest.raises(SourceFailed, match="no ONNX model in one/cpu/int4"):
            statuses(store.pull(name("acme/house-7b:onnx")))
        hub.files.clear()
        with pytest.raises(SourceFailed, match="not there, or may not be read"):
            statuses(store.pull(name("acme/house-7b:onnx")))
