"""Help, man pages and shell completion, all made from the same parsers."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dockd.cli import main as cli
from dockd.cli import man
from dockd.cli.parser import Parser
from tests.cli.test_cli import Shell

PAGES = man.pages()


def commands(parser: Parser) -> list[Parser]:
    return [one for command in parser.commands.values() for one in [command, *commands(command)]]


EVERY = [one for one in commands(cli.parser()) if not one.commands]
every_command = pytest.mark.parametrize("command", EVERY, ids=lambda command: command.prog)


@every_command
def test_help_says_what_it_does_an_example_and_the_exit_codes(command: Parser) -> None:
    said = command.format_help()
    assert command.paragraphs[0] in " ".join(said.split())
    assert command.paragraphs[0].endswith(".")
    assert f"examples:\n  {next(iter(command.examples))}\n" in said
    assert re.search(r"^exit codes:\n +0  ", said, re.MULTILINE)
    assert all(action.help for action in command.arguments)


@every_command
def test_the_examples_are_calls_that_the_command_takes(command: Parser) -> None:
    root = cli.parser()
    for example in command.examples:
        words = subprocess.run(
            ["bash", "-c", f"set -- {_before_pipe(example)}; printf '%s\\0' \"$@\""],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")[:-1]
        options = root.parse_args(words[1:])
        assert callable(options.run)


def _before_pipe(example: str) -> str:
    inner = re.search(r'"\$\((.*)\)"', example)
    return re.split(r" [|>] ", inner[1] if inner else example)[0]


def test_every_command_has_a_man_page() -> None:
    names = {command.prog.replace(" ", "-") for command in commands(cli.parser())}
    assert set(PAGES) == {f"{name}.1" for name in names | {"dockd"}}


def _shown(page: str) -> str:
    """Return what man shows of a page, without its line breaks."""
    shown = subprocess.run(
        ["man", "--warnings=w", "--local-file", "-"],
        input=page,
        env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    return " ".join(re.sub(".\b", "", shown.stdout).split())


@pytest.mark.parametrize("name", PAGES)
def test_a_man_page_says_what_the_help_says(name: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    words = _shown(PAGES[name])
    (parser,) = [
        one
        for one in [cli.parser(), *commands(cli.parser())]
        if f"{one.prog.replace(' ', '-')}.1" == name
    ]
    wanted = [*parser.paragraphs, *parser.examples, *parser.exits.values()]
    wanted += [option for one in parser.arguments for option in one.option_strings]
    for text in wanted:
        assert " ".join(text.split()) in words


@pytest.mark.parametrize("name", PAGES)
def test_a_man_page_is_clean_to_mandoc(name: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    linted = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"],
        input=PAGES[name],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in linted.stdout.splitlines() if "missing date" not in line]
    assert complaints == []


@pytest.mark.parametrize(
    "text", [".SH not a heading", "'so not a file", r"\\fBnot bold\\fP", "~^`-'"]
)
def test_what_troff_would_take_for_its_own_is_shown(text: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    parser = Parser(prog="dockd x", description=f"{text}\n\n{text}", examples={}, exits={0: text})
    assert _shown("\n".join(man.page(parser, text, ["dockd"]))).count(text) == 4


def test_man_pages_are_written_into_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "man1"
    subprocess.run([sys.executable, "-m", "dockd.cli.man", str(folder)], check=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == PAGES


COMPLETIONS = {
    "bash": """
        source "$SCRIPT"
        complete_line() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            $(complete -p dockd | sed 's/.*-F \\([^ ]*\\).*/\\1/') dockd "${@: -1}"
            printf '%s\\n' "${COMPREPLY[@]}"
        }
        complete_line dockd sta
        complete_line dockd resync --f
        complete_line dockd profile s
    """,
    "fish": """
        source $SCRIPT
        complete --do-complete 'dockd sta'
        complete --do-complete 'dockd resync --f'
        complete --do-complete 'dockd profile s'
    """,
}


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_a_shell_completes_commands_and_options(dockd: Shell, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "completion"
    script.write_text(dockd("completion", shell).out)
    completed = subprocess.run(
        [shell, "-c", COMPLETIONS[shell]],
        env={"SCRIPT": str(script), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    words = [line.partition("\t")[0].strip() for line in completed.stdout.splitlines()]
    assert words == ["status", "--failed", "suggest"], completed.stderr


def test_the_script_for_zsh_is_one(dockd: Shell, tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    said = dockd("completion", "zsh")
    assert said.out.startswith("#compdef dockd\n")
    assert "--failed" in said.out
    (tmp_path / "_dockd").write_text(said.out)
    checked = subprocess.run(
        ["zsh", "-n", str(tmp_path / "_dockd")], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
