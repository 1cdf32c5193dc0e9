"""The table of commands."""

import importlib

import pytest

from hutch.cli import commands, completion
from hutch.cli.command import Command
from hutch.cli.run import read_format, read_keep_alive
from hutch.cli.session import read_think
from hutch.core.errors import BadInput, NotBuilt


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_function_and_help(command: Command) -> None:
    module, _, function = command.run.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert command.help in commands.parser(command).format_help()
    assert f"  {command.name} " in commands.overview()


def test_flags_may_stand_anywhere() -> None:
    args = commands.parse(
        commands.find("run"), ["m", "--verbose", "why", "--format", "json", "so?", "--think"]
    )
    assert (args.model, args.prompt, args.verbose, args.format, args.think) == (
        "m",
        ["why", "so?"],
        True,
        "json",
        "true",
    )


def test_a_flag_without_a_value_swallows_no_word() -> None:
    args = commands.parse(commands.find("run"), ["--think", "m", "--think=high", "hi", "--", "--think"])
    assert (args.model, args.prompt, args.think) == ("m", ["hi", "--think"], "high")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pull"], "the following arguments are required: MODEL"),
        (["run"], "the following arguments are required: MODEL$"),
        (["run", ""], "MODEL is empty"),
        (["pull", " "], "MODEL is empty"),
        (["cp", "m", ""], "DESTINATION is empty"),
        (["rm", "m", ""], "MODEL is empty"),
        (["config", "edit"], "invalid choice: 'edit'"),
        (["run", "m", "--truncate=no"], "invalid choice: 'no'"),
        (["pull", "m", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["list", "--js"], "unrecognized arguments: --js"),
        (["completion", "powershell"], "argument shell: invalid choice"),
        (["models"], "the following arguments are required: COMMAND"),
        (["models", "frob"], "argument COMMAND: invalid choice: 'frob'"),
        (["models", "pull", ""], "MODEL is empty"),
    ],
)
def test_refuses_wrong_arguments(words: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        commands.parse(commands.find(words[0]), words[1:])
    assert caught.value.hint == f"Run 'hutch {words[0]} --help'."


@pytest.mark.parametrize("name", ["signin", "signout", "login", "logout", "launch"])
def test_what_only_ollama_has_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotBuilt) as caught:
        commands.find(name)
    assert caught.value.hint


def test_a_part_of_a_command_has_arguments_of_its_own() -> None:
    args = commands.parse(commands.find("models"), ["pull", "a/b", "--replace"])
    assert (args.run, args.model, args.replace) == ("hutch.cli.pull:pull", "a/b", True)


def test_an_empty_prompt_is_no_error() -> None:
    assert commands.parse(commands.find("run"), ["m", ""]).prompt == [""]


def test_aliases_are_commands() -> None:
    assert commands.find("ls").name == "list"
    assert commands.find("start").name == "serve"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_flag(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    completion.completion(commands.parse(commands.find("completion"), [shell]))
    script = capsys.readouterr().out
    for command in commands.COMMANDS:
        assert command.name in script
        for flag in completion.flags(command):
            assert (flag.lstrip("-") if shell == "fish" else flag) in script
    assert "idle-exit" not in script


def test_reads_format() -> None:
    assert read_format("json") == "json"
    assert read_format('{"type": "object"}') == {"type": "object"}
    assert read_format(None) is None
    with pytest.raises(BadInput, match=r"--format nothing\.json"):
        read_format("nothing.json")


@pytest.mark.parametrize(("text", "value"), [("5m", "5m"), ("-1", -1.0), ("300", 300.0), (None, None)])
def test_reads_keep_alive(text: str | None, value: object) -> None:
    assert read_keep_alive(text) == value


def test_refuses_odd_values() -> None:
    with pytest.raises(BadInput, match="invalid duration"):
        read_keep_alive("soon")
    with pytest.raises(BadInput, match="invalid value for --think"):
        read_think("hard")
    assert read_think("true") is True
