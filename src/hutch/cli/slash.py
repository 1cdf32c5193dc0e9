"""The slash commands of a conversation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hutch.cli import http, models, plain, show
from hutch.cli.session import Session, read_think
from hutch.core import options
from hutch.core.errors import BadInput, HutchError, NotFound

_FENCE = '"""'
_HELP = """\
Available Commands:
  /set            Set session variables
  /show           Show model information
  /load <model>   Load another model
  /save <model>   Save this conversation's settings and messages as a model
  /list           List models
  /clear          Forget the conversation
  /bye            Exit
  /?, /help       Help for a command
  /? shortcuts    Help for keyboard shortcuts

Use \"\"\" to begin a multi-line message."""
_HELP_SET = """\
Available Commands:
  /set parameter ...     Set a parameter
  /set system <string>   Set the system message
  /set history           Enable history
  /set nohistory         Disable history
  /set wordwrap          Enable wordwrap
  /set nowordwrap        Disable wordwrap
  /set format json       Enable JSON mode
  /set noformat          Disable formatting
  /set verbose           Show how long answers take
  /set quiet             Do not show how long answers take
  /set think [level]     Enable thinking
  /set nothink           Disable thinking"""
_HELP_SHOW = """\
Available Commands:
  /show info         Show details of the model
  /show license      Show the model's license
  /show modelfile    Show the model's Modelfile
  /show parameters   Show the parameters
  /show system       Show the system message
  /show template     Show the prompt template"""
_HELP_SHORTCUTS = """\
Available keyboard shortcuts:
  Ctrl + a   Move to the beginning of the line
  Ctrl + e   Move to the end of the line
   Alt + b   Move back one word
   Alt + f   Move forward one word
  Ctrl + k   Delete to the end of the line
  Ctrl + u   Delete to the beginning of the line
  Ctrl + w   Delete the word before the cursor
  Ctrl + l   Clear the screen
  Ctrl + g   Write the message in an editor
  Ctrl + c   Stop the answer
  Ctrl + d   Exit"""
_HELP_ON = {"set": _HELP_SET, "show": _HELP_SHOW, "shortcuts": _HELP_SHORTCUTS}
_PARTS = ("license", "modelfile", "template")


class Recorder(Protocol):
    """What remembers the lines that were typed."""

    is_recording: bool


@dataclass(slots=True)
class Desk:
    """What a slash command can change."""

    session: Session
    history: Recorder


def do(desk: Desk, line: str) -> bool:
    """Do one slash command. False: the user leaves."""
    command, _, rest = line.strip().partition(" ")
    if command in ("/bye", "/exit"):
        return False
    run = _COMMANDS.get(command)
    if run is None:
        print(f"Unknown command '{command}'. Type /? for help")
    else:
        run(desk, rest.strip())
    return True


def _help(_desk: Desk, rest: str) -> None:
    print(_HELP_ON.get(rest.removeprefix("/"), _HELP))


def _set(desk: Desk, rest: str) -> None:
    what, _, value = rest.partition(" ")
    setting = _SETTINGS.get(what)
    if not what:
        print(_HELP_SET)
    elif setting is None:
        print(f"Unknown command '/set {what}'. Type /? for help")
    else:
        setting(desk, value.strip())


def _set_parameter(desk: Desk, value: str) -> None:
    name, _, rest = value.partition(" ")
    values = rest.split() if name == "stop" else rest.split()[:1]
    if not values:
        print("Usage: /set parameter <name> <value>")
        return
    chosen = desk.session.options
    try:
        if name in options.DEPRECATED:
            print(f"warning: parameter {name} is deprecated")
            return
        read = [options.parse_option(name, text) for text in values]
    except BadInput as error:
        print(f'Couldn\'t set parameter: "{error.message}"')
        return
    chosen[name] = values if name == "stop" else read[0]
    print(f"Set parameter '{name}' to '{', '.join(values)}'")


def _set_system(desk: Desk, value: str) -> None:
    if not value:
        print("Usage: /set system <message>")
        return
    if value.startswith(_FENCE):
        value = value.removeprefix(_FENCE).removesuffix(_FENCE).strip("\n")
    desk.session.system = value
    print("Set system message.")


def _set_format(desk: Desk, value: str) -> None:
    if value != "json":
        print("Invalid or missing format. For 'json' mode use '/set format json'")
        return
    desk.session.format = value
    print("Set format to 'json' mode.")


def _set_think(desk: Desk, value: str) -> None:
    if "thinking" not in desk.session.capabilities:
        print(f"Couldn't set think: model '{desk.session.model}' does not support thinking")
        return
    try:
        desk.session.think = read_think(value or "true")
    except BadInput:
        print("Usage: /set think [low|medium|high|max]")
        return
    print(f"Set '{f'think {value}'.strip()}' mode.")


def _switch(of: Callable[[Desk], object], field: str, value: Any, told: str) -> Callable[[Desk, str], None]:
    def switch(desk: Desk, _value: str) -> None:
        setattr(of(desk), field, value)
        print(told)

    return switch


def _session(desk: Desk) -> object:
    return desk.session


def _history(desk: Desk) -> object:
    return desk.history


_SETTINGS: Mapping[str, Callable[[Desk, str], None]] = {
    "parameter": _set_parameter,
    "system": _set_system,
    "format": _set_format,
    "think": _set_think,
    "nothink": _switch(_session, "think", False, "Set 'nothink' mode."),
    "noformat": _switch(_session, "format", None, "Disabled format."),
    "wordwrap": _switch(_session, "is_wrapping", True, "Set 'wordwrap' mode."),
    "nowordwrap": _switch(_session, "is_wrapping", False, "Set 'nowordwrap' mode."),
    "verbose": _switch(_session, "verbose", True, "Set 'verbose' mode."),
    "quiet": _switch(_session, "verbose", False, "Set 'quiet' mode."),
    "history": _switch(_history, "is_recording", True, "Set 'history' mode."),
    "nohistory": _switch(_history, "is_recording", False, "Set 'nohistory' mode."),
}


def _show(desk: Desk, rest: str) -> None:
    session = desk.session
    if rest not in ("info", "parameters", "system", *_PARTS):
        plain.out(f"Unknown command '/show {rest}'. Type /? for help" if rest else _HELP_SHOW)
        return
    told = session.server.ask("/api/show", {"model": session.model})
    if rest == "info":
        plain.out(show.sections(told))
    elif rest == "parameters":
        _show_parameters(session, told.get("parameters") or "")
    elif rest == "system":
        plain.out(session.system or told.get("system") or "No system message was specified for this model.")
    else:
        plain.out(told.get(rest) or f"No {rest} was specified for this model.")


def _show_parameters(session: Session, models_own: str) -> None:
    plain.out("Model defined parameters:")
    for line in models_own.splitlines() or ["No additional parameters were specified for this model."]:
        plain.out(f"  {line}")
    if session.options:
        plain.out("\nUser defined parameters:")
        for name, value in session.options.items():
            for one in value if isinstance(value, list) else (value,):
                plain.out(f"  {name:<30} {one}")


def _load(desk: Desk, rest: str) -> None:
    if not rest:
        plain.out("Usage: /load <modelname>")
        return
    session = desk.session
    plain.out(f"Loading model '{rest}'")
    old = session.model
    session.model = rest
    try:
        for _ in session.server.stream("/api/generate", session.load_body()):
            pass
        session.capabilities = session.server.ask("/api/show", {"model": rest}).get("capabilities") or ()
    except HutchError as error:
        session.model = old
        plain.out(
            f"Couldn't find model '{rest}'" if isinstance(error, NotFound) else f"error: {error.message}"
        )
        return
    session.messages.clear()
    session.options = {}
    session.system = ""


def _save(desk: Desk, rest: str) -> None:
    if not rest:
        plain.out("Usage: /save <modelname>")
        return
    session = desk.session
    body: dict[str, Any] = {"model": rest, "from": session.model}
    said = {"system": session.system, "parameters": session.options, "messages": session.messages}
    body |= {name: value for name, value in said.items() if value}
    for _ in session.server.stream("/api/create", body):
        pass
    plain.out(f"Created new model '{rest}'")


def _clear(desk: Desk, _rest: str) -> None:
    desk.session.messages.clear()
    print("Cleared session context")


def _list(_desk: Desk, _rest: str) -> None:
    models.print_list(http.ask("GET", "/api/tags"))


_COMMANDS: Mapping[str, Callable[[Desk, str], None]] = {
    "/?": _help,
    "/help": _help,
    "/set": _set,
    "/show": _show,
    "/load": _load,
    "/save": _save,
    "/clear": _clear,
    "/list": _list,
}
