"""`hutch completion`: scripts for shells, made from the table of commands."""

import argparse

from hutch.cli.command import Command
from hutch.cli.commands import COMMANDS

_MODELS = "hutch list 2>/dev/null | tail -n +2 | cut -d ' ' -f 1"


def completion(args: argparse.Namespace) -> None:
    """Print the script of one shell."""
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]())


def names() -> list[str]:
    """Every word that may follow `hutch`."""
    return [name for command in COMMANDS for name in (command.name, *command.aliases)]


def flags(command: Command) -> list[str]:
    """A command's flags."""
    arguments = [*command.arguments, *(each for part in command.parts for each in part.arguments)]
    shown = [argument for argument in arguments if argument.is_flag and not argument.is_hidden]
    return [*dict.fromkeys(name for argument in shown for name in argument.names), "--help"]


def takes_models(command: Command) -> bool:
    """Whether its words are models' names."""
    arguments = [*command.arguments, *(each for part in command.parts for each in part.arguments)]
    words = [argument for argument in arguments if not argument.is_flag]
    return any(word.names[0] in ("model", "models", "source", "prefix") for word in words)


def choices(command: Command) -> list[str]:
    """The words that it takes, where they are fixed."""
    if command.name == "help":
        return names()
    if command.parts:
        return [part.name for part in command.parts]
    return [str(each) for argument in command.arguments for each in argument.settings.get("choices", ())]


def _cases(line: str) -> str:
    """One line of a shell's `case` for each command."""
    return "\n".join(
        line.format(
            names="|".join((command.name, *command.aliases)),
            words=" ".join([*flags(command), *choices(command)]),
            models="1" if takes_models(command) else "",
        )
        for command in COMMANDS
    )


def _bash() -> str:
    return f"""\
# hutch completion for bash: put `source <(hutch completion bash)` in ~/.bashrc
_hutch() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" line="${{COMP_LINE:0:COMP_POINT}}" words="" models=""
    [[ "$line" == *[[:space:]] ]] && current="" || current="${{line##*[[:space:]]}}"
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "{" ".join(names())} --help --version" -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{_cases('        {names}) words="{words}"; models="{models}" ;;')}
    esac
    [[ -n "$models" && "$current" != -* ]] && words+=" $({_MODELS})"
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    # A colon parts words for readline, which then wants only what follows it.
    if [[ "$current" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{current%"${{current##*:}}"}}"}}")
    fi
}}
complete -o default -F _hutch hutch"""


def _zsh() -> str:
    described = "\n".join(f"        '{command.name}:{command.help}'" for command in COMMANDS)
    return f"""\
#compdef hutch
# hutch completion for zsh: put `source <(hutch completion zsh)` in ~/.zshrc, after compinit
_hutch() {{
    local -a commands offered installed
    local models=""
    commands=(
{described}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    case "$words[2]" in
{_cases('        {names}) offered=({words}); models="{models}" ;;')}
    esac
    [[ -n "$models" && "$PREFIX" != -* ]] && installed=(${{(f)"$({_MODELS})"}})
    compadd -- $offered $installed
    _files
}}
compdef _hutch hutch"""


def _fish() -> str:
    lines = ["# hutch completion for fish: hutch completion fish > ~/.config/fish/completions/hutch.fish"]
    for command in COMMANDS:
        lines.append(f"complete -c hutch -n __fish_use_subcommand -f -a {command.name} -d '{command.help}'")
        seen = f"-n '__fish_seen_subcommand_from {' '.join((command.name, *command.aliases))}'"
        for flag in flags(command):
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"complete -c hutch {seen} {kind}")
        if fixed := choices(command):
            lines.append(f"complete -c hutch {seen} -f -a '{' '.join(fixed)}'")
        if takes_models(command):
            lines.append(f'complete -c hutch {seen} -a "({_MODELS})"')
    return "\n".join(lines)
