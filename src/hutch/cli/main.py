"""The command line's entry: finds the command, and turns errors into messages and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence

import hutch
from hutch import places
from hutch.cli import commands, foundry, plain, side
from hutch.core.errors import BadInput, Forbidden, HutchError, Unreachable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and give the exit code."""
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except (HutchError, UnicodeEncodeError, PermissionError) as error:
        known = _known(error)
        plain.error(known)
        return known.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `hutch list | head -1`: what is left to flush goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        plain.err(f"Error: {error}")
        return 1
    else:
        return code


def _known(error: HutchError | UnicodeEncodeError | PermissionError) -> HutchError:
    """The error in Hutch's words, with what to do."""
    if isinstance(error, UnicodeEncodeError):  # bytes that are no text come in as lone surrogates
        return BadInput("what was typed or piped is not UTF-8", hint="Convert it, for instance with iconv.")
    if isinstance(error, PermissionError):
        return Forbidden(str(error), hint="Change its rights, or set HUTCH_HOME to a folder of your own.")
    return error


def _dispatch(words: list[str]) -> int:
    is_foundry = places.program() == "foundry-local"
    if not words or words[0] in ("-h", "--help"):
        print(foundry.overview() if is_foundry else commands.overview())
        return 0
    if words[0] in ("-v", "--version"):
        return _version()
    if is_foundry:
        words = foundry.translated(words)
    command = commands.find(words[0])
    args = commands.parse(command, words[1:])
    if places.first_set(*places.CLIENT_VARIABLES["HOST"]) and (remark := places.server_address().remark):
        plain.err(f"Warning: {remark}")
    return side.here(getattr(args, "run", command.run), args) or 0


def _version() -> int:
    """Print this version, and the server's where that is another one."""
    if places.program() == "ollama":  # whoever reads it expects Ollama's
        print(f"ollama version is {hutch.OLLAMA_VERSION} (hutch {hutch.__version__})")
    else:
        print(f"hutch version is {hutch.__version__}")
    try:
        told = side.server_version()
    except Unreachable:
        print("Warning: no server is running", file=sys.stderr)
    except HutchError as error:
        plain.err(f"Warning: {error.message}")
    else:
        if told != hutch.__version__:
            plain.err(f"Warning: the server at {places.server_address().url} is version {told}")
    return 0


def help_(args: argparse.Namespace) -> int:
    """`hutch help [COMMAND]`."""
    if args.command:
        commands.parser(commands.find(args.command)).print_help()
    else:
        print(commands.overview())
    return 0
