"""A conversation with a scripted server: messages and slash commands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from hutch.cli import repl, slash
from hutch.cli.session import Session
from hutch.core.errors import HutchError, NotFound
from tests.fake_ollama import chat_lines


@dataclass
class _Server:
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((path, body))
        told: dict[str, Any] = self.answers[path]
        return told

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append((path, body))
        for line in self.answers.get(path, [{"done": True}]):
            if isinstance(line, BaseException):
                raise line
            yield line


@dataclass
class _Recorder:
    is_recording: bool = True


@pytest.fixture
def desk() -> slash.Desk:
    server = _Server({"/api/chat": chat_lines("Hel", "lo")})
    return slash.Desk(Session(server, "m", capabilities=("completion", "thinking")), _Recorder())


def _server(desk: slash.Desk) -> _Server:
    assert isinstance(desk.session.server, _Server)
    return desk.session.server


def test_a_message_is_answered_and_remembered(desk: slash.Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.session.system = "Be brief."
    repl.turn(desk, "hi")
    repl.turn(desk, "again")
    assert capsys.readouterr().out == "Hello\nHello\n"
    assert _server(desk).asked[1][1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "again"},
    ]


def test_an_error_is_shown_and_the_question_forgotten(
    desk: slash.Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    _server(desk).answers["/api/chat"] = [HutchError("engine died", hint="hutch logs m")]
    assert repl.turn(desk, "hi")
    assert capsys.readouterr().err == "Error: engine died\nhutch logs m\n"
    assert desk.session.messages == []


def test_a_stopped_answer_keeps_what_had_come(desk: slash.Desk) -> None:
    _server(desk).answers["/api/chat"] = [*chat_lines("Once upon")[:1], KeyboardInterrupt()]
    assert repl.turn(desk, "hi")
    assert desk.session.messages[-1] == {"role": "assistant", "content": "Once upon"}


def test_thinking_is_shown_apart_or_hidden(desk: slash.Desk, capsys: pytest.CaptureFixture[str]) -> None:
    thought = {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False}
    _server(desk).answers["/api/chat"] = [thought, *chat_lines("Yes")]
    repl.turn(desk, "hi")
    assert capsys.readouterr().out == "Thinking...\nhm\n...done thinking.\n\nYes\n"
    desk.session.is_hiding_thinking = True
    repl.turn(desk, "hi")
    assert capsys.readouterr().out == "Yes\n"


def test_verbose_shows_figures_on_stderr(desk: slash.Desk, capsys: pytest.CaptureFixture[str]) -> None:
    last = {"total_duration": 4_200_000_000, "prompt_eval_count": 26, "prompt_eval_duration": 130_000_000}
    _server(desk).answers["/api/chat"] = chat_lines("x", **last, eval_count=298, eval_duration=63_000_000_000)
    repl.turn(desk, "/set verbose")
    capsys.readouterr()
    repl.turn(desk, "hi")
    assert capsys.readouterr().err == (
        "total duration:       4.2s\n"
        "load duration:        0s\n"
        "prompt eval count:    26 token(s)\n"
        "prompt eval duration: 130ms\n"
        "prompt eval rate:     200.00 tokens/s\n"
        "eval count:           298 token(s)\n"
        "eval duration:        1m3s\n"
        "eval rate:            4.73 tokens/s\n"
    )


@pytest.mark.parametrize(
    ("line", "told", "changed"),
    [
        ("/set parameter num_ctx 4096", "Set parameter 'num_ctx' to '4096'", {"options": {"num_ctx": 4096}}),
        ("/set parameter stop a b", "Set parameter 'stop' to 'a, b'", {"options": {"stop": ["a", "b"]}}),
        ("/set parameter num_ctx x", 'Couldn\'t set parameter: "invalid int value [x]"', {}),
        ("/set parameter foo 1", "Couldn't set parameter: \"unknown parameter 'foo'\"", {}),
        ("/set parameter seed", "Usage: /set parameter <name> <value>", {}),
        ("/set parameter", "Usage: /set parameter <name> <value>", {}),
        ("/set system Be brief.", "Set system message.", {"system": "Be brief."}),
        ('/set system """Be\nbrief."""', "Set system message.", {"system": "Be\nbrief."}),
        ("/set wordwrap", "Set 'wordwrap' mode.", {"is_wrapping": True}),
        ("/set nowordwrap", "Set 'nowordwrap' mode.", {"is_wrapping": False}),
        ("/set format json", "Set format to 'json' mode.", {"format": "json"}),
        ("/set format", "Invalid or missing format. For 'json' mode use '/set format json'", {}),
        ("/set noformat", "Disabled format.", {"format": None}),
        ("/set verbose", "Set 'verbose' mode.", {"verbose": True}),
        ("/set quiet", "Set 'quiet' mode.", {"verbose": False}),
        ("/set think", "Set 'think' mode.", {"think": True}),
        ("/set think high", "Set 'think high' mode.", {"think": "high"}),
        ("/set think hard", "Usage: /set think [low|medium|high|max]", {"think": None}),
        ("/set nothink", "Set 'nothink' mode.", {"think": False}),
        ("/set nonsense", "Unknown command '/set nonsense'. Type /? for help", {}),
        ("/nonsense", "Unknown command '/nonsense'. Type /? for help", {}),
        ("/clear", "Cleared session context", {"messages": []}),
        ("/load", "Usage: /load <modelname>", {}),
        ("/save", "Usage: /save <modelname>", {}),
    ],
)
def test_slash_commands(
    desk: slash.Desk, capsys: pytest.CaptureFixture[str], line: str, told: str, changed: dict[str, Any]
) -> None:
    assert repl.turn(desk, line)
    assert capsys.readouterr().out == f"{told}\n"
    for name, value in changed.items():
        assert getattr(desk.session, name) == value


def test_history_can_be_switched_off(desk: slash.Desk) -> None:
    repl.turn(desk, "/set nohistory")
    assert not desk.history.is_recording


@pytest.mark.parametrize("line", ["/bye", "/exit", " /bye ".strip()])
def test_bye_leaves(desk: slash.Desk, line: str) -> None:
    assert not repl.turn(desk, line)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("/?", "/set            Set session variables"),
        ("/help set", "/set parameter ..."),
        ("/? /show", "/show modelfile"),
        ("/? shortcuts", "Ctrl + a"),
        ("/set", "/set nohistory"),
        ("/show", "/show license"),
    ],
)
def test_help(desk: slash.Desk, capsys: pytest.CaptureFixture[str], line: str, shown: str) -> None:
    repl.turn(desk, line)
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("/show info", "  Model\n    architecture    llama\n\n"),
        ("/show license", "Apache"),
        ("/show modelfile", "FROM x"),
        ("/show template", "No template was specified for this model."),
        ("/show system", "No system message was specified for this model."),
        ("/show parameters", "Model defined parameters:\n  stop    x"),
        ("/show nonsense", "Unknown command '/show nonsense'. Type /? for help"),
    ],
)
def test_show(desk: slash.Desk, capsys: pytest.CaptureFixture[str], line: str, shown: str) -> None:
    told = {
        "license": "Apache",
        "modelfile": "FROM x",
        "parameters": "stop    x",
        "details": {"family": "llama"},
    }
    _server(desk).answers["/api/show"] = told
    repl.turn(desk, line)
    assert capsys.readouterr().out.startswith(shown)


def test_load_begins_anew(desk: slash.Desk, capsys: pytest.CaptureFixture[str]) -> None:
    repl.turn(desk, "hi")
    _server(desk).answers["/api/show"] = {"capabilities": ["completion"]}
    repl.turn(desk, "/load other")
    assert (desk.session.model, desk.session.messages) == ("other", [])
    repl.turn(desk, "/set think")
    assert "Couldn't set think: model 'other' does not support thinking" in capsys.readouterr().out
    assert desk.session.think is None
    _server(desk).answers["/api/generate"] = [NotFound("model 'nix' not found")]
    repl.turn(desk, "/load nix")
    assert capsys.readouterr().out.endswith("Couldn't find model 'nix'\n")
    assert desk.session.model == "other"


def test_save_makes_a_model_of_the_conversation(desk: slash.Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("/set parameter seed 7", "/set system Be brief.", "hi", "/save mine"):
        repl.turn(desk, line)
    assert _server(desk).asked[-1] == (
        "/api/create",
        {
            "model": "mine",
            "from": "m",
            "system": "Be brief.",
            "parameters": {"seed": 7},
            "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}],
        },
    )
    assert capsys.readouterr().out.endswith("Created new model 'mine'\n")


def test_reads_on_until_the_quotes_close() -> None:
    lines = iter(['"""one', "two", 'three"""'])
    marks: list[str] = []

    def ask(mark: str, _placeholder: str) -> str:
        marks.append(mark)
        return next(lines)

    assert repl.unfenced(repl.read(ask)) == "one\ntwo\nthree"
    assert marks == [">>> ", "... ", "... "]
