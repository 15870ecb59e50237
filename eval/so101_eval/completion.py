"""`so101 completion bash|zsh|fish`: what a shell needs to complete commands and flags, made from the help texts.

source <(so101 completion bash)          # in ~/.bashrc; zsh in ~/.zshrc the same way
so101 completion fish | source           # in ~/.config/fish/config.fish
"""

from collections.abc import Mapping

from so101_policy.command_line.command_flags import flags_in
from so101_policy.command_line.command_shell import Command
from so101_policy.errors import CommandLineError

SHELLS = ("bash", "zsh", "fish")

BASH = """\
_so101() {{
  local line="${{COMP_WORDS[*]:0:COMP_CWORD}}" word="${{COMP_WORDS[COMP_CWORD]}}" known=""
  [[ $line == so101\\ * ]] && line="so101-${{line#so101 }}"
  line="${{line##*/}} "
  case "$line" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$known" -- "$word"))
  if [[ ${{COMPREPLY[0]}} == --* ]]; then compopt -o nospace; else [[ $COMPREPLY ]] || compopt -o default; fi
}}
complete -F _so101 {names}
"""

ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def script(shell: str, commands: Mapping[str, Command]) -> str:
    """The script of a shell.

    Args:
        shell: of `SHELLS`.
        commands: word after `so101` -> command.

    Raises:
        CommandLineError: there is none for that shell.
    """
    if shell not in SHELLS:
        raise CommandLineError(f"there is no completion for {shell!r}; possible: {', '.join(SHELLS)}")
    return _fish(commands) if shell == "fish" else (ZSH if shell == "zsh" else "") + _bash(commands)


def _bash(commands: Mapping[str, Command]) -> str:
    lines: list[str] = []
    for command in commands.values():
        parts = _parts(command)
        for word, text in parts.items():  # before the command, whose pattern fits its parts, too
            lines.append(f'    "{command.name} {word} "*) known="{" ".join(_flags(text))}" ;;')
        words = " ".join([*parts, *_flags(command.help_text())])
        lines.append(f'    "{command.name} "*) known="{words}" ;;')
    lines.append(f'    *) known="{" ".join(commands)}" ;;')
    names = " ".join(["so101", *(command.name for command in commands.values())])
    return BASH.format(cases="\n".join(lines), names=names)


def _fish(commands: Mapping[str, Command]) -> str:
    lines: list[str] = []
    for word, command in commands.items():
        lines.append(f"complete -c so101 -n __fish_use_subcommand -a {word} -d {_quoted(command.about)}")
        for where in (f"-c {command.name}", f"-c so101 -n '__fish_seen_subcommand_from {word}'"):
            lines += [f"complete {where} -a {part}" for part in _parts(command)]
            texts = (command.help_text(), *_parts(command).values())
            flags = sorted({flag.strip("-=") for text in texts for flag in _flags(text)})
            lines += [f"complete {where} -l {flag}" for flag in flags]
    return "\n".join(lines) + "\n"


def _parts(command: Command) -> dict[str, str]:
    """Word after the command -> its help, for every one that has a help of its own."""
    start = f"{command.name}-"
    paths = sorted(command.help_folder.glob(f"{start}*.txt"))
    words = {path.stem.removeprefix(start): path for path in paths}
    return {word: path.read_text(encoding="utf-8") for word, path in words.items() if "-" not in word}


def _flags(text: str) -> list[str]:
    """`--flag=` for a flag with a value, `--flag` for one without."""
    return [f"{flag}=" if f"{flag}=" in text else flag for flag in sorted(flags_in(text))]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
