"""Commands with a scripted server."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hutch import places
from hutch.cli import side
from hutch.cli.main import main
from tests.conftest import clean_environment, free_port
from tests.fake_ollama import Answer, FakeOllama, generate_lines, model_row, serving

_TAGS = {
    "models": [
        model_row("smollm2:135m", modified_at="2020-01-01T00:00:00Z"),
        model_row("b:latest", modified_at=""),
    ]
}
_PS = {
    "models": [
        model_row(
            "smollm2:135m", expires_at="9999-12-31T23:59:59+00:00", size_vram=0, context_length=4096, pid=7
        ),
    ]
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeOllama]:
    answers = {
        "api_tags": Answer(_TAGS),
        "api_ps": Answer(_PS),
        "api_show": Answer(
            {"capabilities": ["completion"], "details": {"family": "llama"}, "system": "Be brief."}
        ),
        "api_generate": Answer(lines=generate_lines("Hel", "lo", eval_count=2, eval_duration=10**9)),
        "api_copy": Answer(),
        "api_delete": Answer(),
        "api_create": Answer(lines=[{"status": "writing manifest"}, {"status": "success"}]),
        "api_embed": Answer({"embeddings": [[0.5, 1.0]]}),
    }
    with serving(**answers) as served:
        for name, value in clean_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HUTCH_HOST", served.host)
        monkeypatch.setenv("HUTCH_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HUTCH_API_KEY", "secret")
        for name in list(places.server_settings()):
            monkeypatch.delenv(name)
        side.note_settings.cache_clear()
        yield served


@pytest.fixture
def hutch(
    fake: FakeOllama, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: the exit code, stdout and stderr."""

    def run(*words: str, piped: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", _Pipe(piped))
        code = main(words)
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return run


def test_list_names_manifests_that_the_server_cannot_read(
    fake: FakeOllama, hutch: Callable[..., tuple[int, str, str]]
) -> None:
    fake.answers["/api/tags"] = Answer({**_TAGS, "broken": ["bad/latest: not valid JSON"]})
    code, out, err = hutch("list")
    assert (code, err) == (0, "Warning: bad/latest: not valid JSON\n")
    assert out.splitlines()[1].startswith("smollm2:135m")


class _Pipe:
    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return False

    def read(self) -> str:
        return self._text


Hutch = Callable[..., tuple[int, str, str]]


def test_list_shows_ollamas_columns(fake: FakeOllama, hutch: Hutch) -> None:
    code, out, _ = hutch("list")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    assert lines[1].startswith("smollm2:135m    0123456789ab    98 MB    ")
    assert lines[1].endswith("years ago")
    assert fake.requests[-1].key == "secret"


def test_list_takes_a_prefix_in_any_case(hutch: Hutch) -> None:
    assert hutch("ls", "SMOL", "--json")[1] == json.dumps({"models": _TAGS["models"][:1]}, indent=2) + "\n"


def test_ps_shows_ollamas_columns(hutch: Hutch) -> None:
    out = hutch("ps")[1]
    assert out == (
        "NAME            ID              SIZE     PROCESSOR    CONTEXT    UNTIL\n"
        "smollm2:135m    0123456789ab    98 MB    100% CPU     4096       Forever\n"
    )
    assert json.loads(hutch("ps", "--json")[1]) == _PS


@pytest.mark.parametrize(
    "words",
    [
        ["run", "m", "hi"], ["list"], ["show", "m"], ["pull", "m"], ["create", "x"], ["rm", "m", "n"], ["cp", "a", "b"],
        ["ps"], ["stop", "m"],
    ],
)  # fmt: skip
def test_says_once_whose_settings_count(
    fake: FakeOllama, hutch: Hutch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: Sequence[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Modelfile").write_text("FROM m")
    fake.answers["/api/pull"] = fake.answers["/api/create"]
    if words[0] == "stop":
        fake.answers["/api/generate"] = Answer({"done": True, "done_reason": "unload"})
    code, _, err = hutch(*words)
    assert (code, "note: " in err) == (0, False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "8")
    monkeypatch.setenv("HUTCH_MODELS", "/elsewhere")
    side.note_settings.cache_clear()
    code, _, err = hutch(*words)
    told = (
        "note: HUTCH_MODELS, OLLAMA_NUM_PARALLEL, CUDA_VISIBLE_DEVICES: "
        "the settings of the running server count, not these"
    )
    assert (code, [line for line in err.splitlines() if line.startswith("note")]) == (0, [told])


def test_says_why_an_answer_is_short(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/generate"] = Answer(lines=generate_lines("Hel", done_reason="length"))
    told = "(the answer was cut: the context, or num_predict, was used up)\n"
    assert hutch("run", "m", "hi") == (0, "Hel\n", "")
    assert hutch("run", "m", "hi", "--verbose")[2].startswith(told)
    fake.answers["/api/generate"] = Answer(lines=generate_lines("Hel", done_reason="stop"))
    assert told not in hutch("run", "m", "hi", "--verbose")[2]


def test_serve_tells_who_has_the_address(fake: FakeOllama, hutch: Hutch) -> None:
    code, _, err = hutch("serve")
    assert code == 5
    assert f"cannot listen on http://{fake.host}" in err
    assert "\nVersion 0.1.0 answers there. One that 'hutch run' started leaves five minutes after" in err
    fake.answers["/api/version"] = Answer({"error": "no"}, status=500)
    assert "Another server may run there" in hutch("serve", "--host", fake.host)[2]


@pytest.mark.parametrize(
    ("words", "out", "asked"),
    [
        (["cp", "a", "b"], "copied 'a' to 'b'\n", ("/api/copy", {"source": "a", "destination": "b"})),
        (["rm", "a"], "deleted 'a'\n", ("/api/delete", {"model": "a"})),
        (["show", "m", "--system"], "Be brief.\n", ("/api/show", {"model": "m", "verbose": False})),
    ],
)
def test_short_commands(
    fake: FakeOllama, hutch: Hutch, words: Sequence[str], out: str, asked: tuple[str, object]
) -> None:
    assert hutch(*words) == (0, out, "")
    assert (fake.requests[-1].path, fake.requests[-1].body) == asked


def test_stop_unloads(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/generate"] = Answer({"done": True, "done_reason": "unload"})
    assert hutch("stop", "m") == (0, "", "")
    assert fake.asked("/api/generate") == [{"model": "m", "keep_alive": 0, "stream": False}]
    fake.answers["/api/generate"] = Answer({"error": "model 'x' not found"}, status=404)
    assert hutch("stop", "x") == (4, "", "Error: couldn't find model 'x' to stop\n")


def test_run_answers_once_with_what_was_piped_first(fake: FakeOllama, hutch: Hutch) -> None:
    code, out, err = hutch(
        "run", "m", "explain", "this", "--system", "S", "--format", "json", "--keepalive", "60", "--verbose",
        "--think=false", piped="data",
    )  # fmt: skip
    assert (code, out) == (0, "Hello\n")
    assert "eval rate:            2.00 tokens/s" in err
    assert fake.asked("/api/generate") == [
        {
            "model": "m",
            "prompt": "data explain this",
            "system": "S",
            "format": "json",
            "think": False,
            "keep_alive": 60.0,
        }
    ]


def test_run_pulls_what_is_absent(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/show"] = Answer({"error": "model 'm' not found"}, status=404)
    lines = [
        {"status": "pulling manifest"},
        {"status": "pulling 0123", "digest": "d", "total": 2000, "completed": 1},
    ]
    fake.answers["/api/pull"] = Answer(lines=[*lines, {"status": "success"}])
    code, _, err = hutch("run", "m", "hi")
    assert err == "pulling manifest\npulling 0123 (2 KB)\nsuccess\nError: model 'm' not found\n"
    assert (code, fake.asked("/api/pull")) == (4, [{"model": "m", "insecure": False}])


def test_run_prints_the_vector_of_an_embedding_model(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/show"] = Answer({"capabilities": ["embedding"]})
    assert hutch("run", "m", "text") == (0, "[0.5, 1.0]\n", "")
    assert hutch("run", "m")[0] == 2


def test_flags_of_embedding_models_go_with_the_request(fake: FakeOllama, hutch: Hutch) -> None:
    flags = ("--dimensions", "2", "--truncate=false", "--keepalive", "1m")
    code, _, err = hutch("run", "m", "text", *flags)
    assert (code, err) == (2, "Error: --truncate is for embedding models, and 'm' is none\n")
    fake.answers["/api/show"] = Answer({"capabilities": ["embedding"]})
    assert hutch("run", "m", "text", *flags)[:2] == (0, "[0.5, 1.0]\n")
    assert fake.asked("/api/embed") == [
        {"model": "m", "input": "text", "keep_alive": "1m", "truncate": False, "dimensions": 2}
    ]


def test_layers_of_the_environment_go_with_the_request(
    fake: FakeOllama, hutch: Hutch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_GPU_LAYERS", " '35' ")
    code, _, err = hutch("run", "m", "hi")
    assert (code, err) == (0, "")  # nothing that a running server would not heed
    assert fake.asked("/api/generate")[-1]["options"] == {"num_gpu": 35}
    monkeypatch.setenv("OLLAMA_GPU_LAYERS", "many")
    code, _, err = hutch("run", "m", "hi")
    assert (code, err.splitlines()[0]) == (2, "Error: OLLAMA_GPU_LAYERS: invalid int value [many]")


def test_one_part_of_a_model_is_shown_at_a_time(hutch: Hutch) -> None:
    assert hutch("show", "m", "--system")[:2] == (0, "Be brief.\n")
    code, _, err = hutch("show", "m", "--system", "--license")
    assert (code, err.partition(" ")[2][:8]) == (2, "only one")


def test_an_error_in_mid_stream_is_an_error(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/generate"] = Answer(
        lines=[*generate_lines("Hel")[:1], {"error": "engine died", "hint": "hutch logs m"}]
    )
    assert hutch("run", "m", "hi") == (1, "Hel", "Error: engine died\nhutch logs m\n")


def test_a_stream_that_breaks_off_is_an_error(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/generate"] = Answer(lines=generate_lines("Hel")[:1])
    code, _, err = hutch("run", "m", "hi")
    assert code == 1
    assert err.startswith("Error: the server's answer broke off before its end\n")


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 3), (403, 3), (404, 4), (409, 5), (500, 1), (502, 8), (503, 9), (507, 6)],
)
def test_exit_codes_tell_what_went_wrong(fake: FakeOllama, hutch: Hutch, status: int, code: int) -> None:
    fake.answers["/api/copy"] = Answer({"error": "no", "hint": "do this"}, status=status)
    assert hutch("cp", "a", "b") == (code, "", "Error: no\ndo this\n")


def test_create_sends_files_by_their_digests(fake: FakeOllama, hutch: Hutch, tmp_path: Path) -> None:
    digest = "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"
    (tmp_path / "w.gguf").write_bytes(b"aaa")
    (tmp_path / "Modelfile").write_text(
        'FROM ./w.gguf\nSYSTEM """Be\nbrief."""\nPARAMETER seed 1\nPARAMETER low_vram true'
    )
    blob = f"/api/blobs/{digest}"
    fake.answers |= {
        f"HEAD {blob}": Answer(status=404),
        f"POST {blob}": Answer({"error": "no room"}, status=507),
    }
    assert hutch("create", "x", "-f", str(tmp_path / "Modelfile"))[0] == 6
    fake.answers[f"POST {blob}"] = Answer(status=201)
    code, _, err = hutch("create", "x", "-f", str(tmp_path / "Modelfile"))
    assert code == 0
    assert err == (
        "warning: parameter low_vram is deprecated\nhashing w.gguf (3 B)\ncopying w.gguf (3 B)\nwriting manifest\nsuccess\n"
    )
    assert fake.asked(blob)[-1] == b"aaa"
    fake.answers[f"HEAD {blob}"] = Answer()
    assert hutch("create", "x", "-f", str(tmp_path / "Modelfile"))[0] == 0
    assert [request.method for request in fake.requests if request.path == blob][-1] == "HEAD"
    assert fake.asked("/api/create")[-1:] == [
        {"model": "x", "files": {"w.gguf": digest}, "system": "Be\nbrief.", "parameters": {"seed": 1}}
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the Modelfile {path} cannot be read: No such file or directory"),
        ("FROM ./missing.gguf", "FROM ./missing.gguf: no such file: {folder}/missing.gguf"),
        ("FROM m\nADAPTER ./x", "(line 2): ADAPTER ./x: no such file: {folder}/x"),
        ("FROM a\nFROM b", "FROM b: a model has one base"),
    ],
)
def test_create_names_what_is_wrong(hutch: Hutch, tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "Modelfile"
    if text is not None:
        path.write_text(text)
    code, _, err = hutch("create", "x", "-f", str(path))
    assert code == 2
    assert err.splitlines()[0] == "Error: " + message.format(path=path, folder=tmp_path)


def test_pull_leaves_names_to_the_server(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/pull"] = Answer(
        lines=[{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]
    )
    code, _, err = hutch("pull", "nope")
    assert (code, err) == (1, "pulling manifest\nError: pull model manifest: file does not exist\n")


def test_version_tells_the_servers_where_it_differs(fake: FakeOllama, hutch: Hutch) -> None:
    assert hutch("--version")[1:] == ("hutch version is 0.1.0\n", "")
    fake.answers["/api/version"] = Answer({"version": "0.33.0", "hutch": "9.9"})
    assert hutch("--version")[2] == f"Warning: the server at http://{fake.host} is version 9.9\n"


def test_what_is_no_server_is_told_so(fake: FakeOllama, hutch: Hutch) -> None:
    fake.answers["/api/tags"] = Answer({"hello": "world"})
    assert hutch("list") == (1, "", "Error: the server's answer is no list of models\n")


def test_ctrl_c_ends_the_request(fake: FakeOllama, tmp_path: Path) -> None:
    piece = generate_lines("word ")[0]
    fake.answers["/api/generate"] = Answer(lines=[piece, *([0.02, piece] * 500)])
    environment = clean_environment(HUTCH_HOST=fake.host, HUTCH_HOME=str(tmp_path))
    command = [sys.executable, "-m", "hutch", "run", "m", "hi"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"word "
        process.send_signal(2)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"")
    assert fake.broken_off.wait(5)


def test_a_reader_that_leaves_is_no_error(fake: FakeOllama, tmp_path: Path) -> None:
    fake.answers["/api/tags"] = Answer(
        {"models": [model_row(f"m{n}", modified_at="2020-01-01T00:00:00Z") for n in range(5000)]}
    )
    environment = clean_environment(HUTCH_HOST=fake.host, HUTCH_HOME=str(tmp_path))
    command = f"{sys.executable} -m hutch list | head -1"
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, timeout=20, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("command", [["ps"], ["stop", "m"]])
def test_what_needs_a_server_says_how_to_start_one(
    hutch: Hutch, monkeypatch: pytest.MonkeyPatch, command: Sequence[str]
) -> None:
    host = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("HUTCH_HOST", host)
    told = f"Error: could not connect to a hutch server at http://{host}, run 'hutch serve' to start it\n"
    assert hutch(*command) == (10, "", told)


@pytest.mark.parametrize(
    "command", [["list"], ["rm", "m"], ["run", "m", "hi"], ["pull", "m"], ["prune"], ["ps"]]
)
def test_a_server_elsewhere_is_not_replaced(
    hutch: Hutch, monkeypatch: pytest.MonkeyPatch, command: Sequence[str]
) -> None:
    monkeypatch.setenv("HUTCH_HOST", f"nowhere.invalid:{free_port()}")
    code, out, err = hutch(*command)
    assert (code, out) == (10, "")
    assert err.startswith("Error: could not connect to a hutch server at http://nowhere.invalid:")
