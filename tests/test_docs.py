"""What the documentation says is so: its commands run, what it names exists."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest
from pydantic import BaseModel

from dockd.base.log_events import EVENTS
from dockd.base.settings import Section
from dockd.cli import main as cli
from dockd.evidence.statements import Anchor, Answer, Manifest, Receipt
from dockd.receiver import config as receiver_config
from dockd.receiver.http import problems
from dockd.receiver.http.problems import ProblemType
from dockd.station.config import Config
from dockd.station.ledger.journal_kinds import KINDS
from tests.base.test_errors import classes
from tests.pages import FENCE, PAGES, ROOT, blocks, links, prose

STORY = ["try", "prove", "formats", "protocol", "configure", "operate"]
"""The pages whose ``sh`` blocks are run, one after the other, in one folder."""
IN_A_MACHINE = ["install"]
"""The pages whose ``sh`` blocks are run by tests/vm, as root of a machine of their own."""
TOOLS = ["age", "basenc", "curl", "jq", "openssl", "sqlite3"]
FILES = {".csr", ".db", ".json", ".key", ".pem", ".pub", ".py", ".service", ".toml", ".txt"}
"""Endings of files, whose names look like those of keys."""
PATIENCE = 300
"""Seconds that the commands may take; never reached when all is well."""

_ModelT = TypeVar("_ModelT", bound=BaseModel)

_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"(?<![\x22\x27\w])dockd (?P<name>[a-z]+)\b(?P<arguments>(?:[^\n`&|]|\\\n)*)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _stories() -> Iterator[Any]:
    """Yield for each page what leads up to it; CI runs the first proof, and all pages."""
    for number, page in enumerate(STORY, start=1):
        marks = {"prove": [], STORY[-1]: [pytest.mark.slow]}.get(page, [pytest.mark.thorough])
        yield pytest.param(STORY[:number], id=f"up to {page}.md", marks=marks)


@pytest.mark.parametrize("story", list(_stories()))
def test_the_commands_of_the_pages_run_one_after_the_other(
    story: list[str], tmp_path: Path
) -> None:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"the documentation's commands need {tool}")
    lines = ["set -euo pipefail"]
    for name in story:
        page = ROOT / "docs" / f"{name}.md"
        for line, text in blocks(page.read_text(), "sh"):
            lines += [f"echo '== {page.name}, line {line}'", text]
    script = "\n".join(lines)
    for port in ("8443", "8470"):
        script = script.replace(port, str(_free_port()))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    log = tmp_path / "output"
    with log.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    code: int | None = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = shell.wait(PATIENCE)
    finally:
        _kill_session(shell.pid)
        shell.wait()
    assert code == 0, log.read_text()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _kill_session(leader: int) -> None:
    """End what the shell has left running, if anything."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@pytest.mark.parametrize("name", STORY + IN_A_MACHINE)
def test_every_page_of_the_story_has_commands(name: str) -> None:
    assert list(blocks((ROOT / "docs" / f"{name}.md").read_text(), "sh"))


@each_page
def test_no_command_stands_in_a_page_that_is_not_run(page: Path) -> None:
    if page.stem not in STORY + IN_A_MACHINE:
        assert not list(blocks(page.read_text(), "sh"))


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            anchors = {_anchor(heading) for heading in _HEADING.findall(prose(target))}
            assert anchor in anchors, f"{page.name} links to {link}"


def _anchor(heading: str) -> str:
    """Return the name that a heading has in an address, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@each_page
def test_commands_and_options_exist(page: Path) -> None:
    known = _commands()
    for command in _COMMAND.finditer(_in_code(page)):
        assert command["name"] in known, f"{page.name}: {command[0]}"
        options = re.findall(r"(?<=\s)--?[a-z][a-z-]*", command["arguments"])
        assert set(options) <= known[command["name"]], f"{page.name}: {command[0]}"


def _in_code(page: Path) -> str:
    blocks = [block["text"] for block in FENCE.finditer(page.read_text())]
    return "\n".join([*blocks, *_CODE.findall(prose(page))])


def _commands() -> dict[str, set[str]]:
    """Return the options of every command."""
    return {
        name: {
            option
            for one in [command, *command.commands.values()]
            for action in one.arguments
            for option in action.option_strings
        }
        for name, command in cli.parser().commands.items()
    }


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)", _in_code(page))) <= targets


@each_page
def test_dotted_names_are_keys_events_or_members(page: Path) -> None:
    known = {*_keys(Config), *_keys(receiver_config.Config), *EVENTS, *KINDS}
    known |= {error.event for error in classes()}
    for statement in (Manifest, Receipt, Answer, Anchor):
        known |= {*_members(statement), statement.model_fields["typ"].default}
    for code in _CODE.findall(prose(page)):
        if re.fullmatch(r"[a-z]+\.[a-z_]+", code) and Path(code).suffix not in FILES:
            assert code in known, f"{page.name}: {code}"


def _keys(config: type[Section]) -> Iterator[str]:
    """Yield ``section.key`` for every key of a configuration, however deep its section is."""
    for name, field in config.model_fields.items():
        for section in _models(field.annotation, Section):
            yield from (f"{name}.{key}" for key in section.model_fields)
            yield from _keys(section)


def _members(statement: type[BaseModel]) -> Iterator[str]:
    """Yield every member of a statement, those of an object as ``object.member``."""
    for name, field in statement.model_fields.items():
        parts = list(_models(field.annotation, BaseModel))
        yield from (f"{name}.{member}" for part in parts for member in part.model_fields)
        if not parts:
            yield name


def _models(annotation: Any, kind: type[_ModelT]) -> Iterator[type[_ModelT]]:
    if isinstance(annotation, type) and issubclass(annotation, kind):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument, kind)


def _described(heading: str) -> set[str]:
    """Return the first cells of the tables below a heading of docs/formats.md."""
    page = (ROOT / "docs" / "formats.md").read_text()
    section = page.split(f"\n### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def test_every_member_of_a_manifest_is_described() -> None:
    assert _described("Manifest") == set(_members(Manifest))


@pytest.mark.parametrize("statement", [Receipt, Answer, Anchor])
def test_every_member_of_what_a_receiver_signs_is_described(statement: type[BaseModel]) -> None:
    described = {name.partition(".")[0] for name in _described(statement.__name__)}
    assert described == set(statement.model_fields)


def test_every_refusal_of_the_receiver_is_listed() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    known = {value for value in vars(problems).values() if isinstance(value, ProblemType)}
    listed = set(re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \| (.+) \|$", page, re.MULTILINE))
    assert listed == {(one.code, str(one.status), one.title) for one in known}


def test_the_modules_that_are_named_exist() -> None:
    known = {path.name for path in ROOT.glob("*/**/*.py")}
    named = set(re.findall(r"\w+\.py\b", (ROOT / "docs" / "develop.md").read_text()))
    assert named <= known


def test_the_pages_that_the_code_names_exist() -> None:
    for module in (ROOT / "dockd").rglob("*.py"):
        for name in re.findall(r"docs/[a-z]+\.md", module.read_text()):
            assert (ROOT / name).exists(), f"{module} names {name}"
