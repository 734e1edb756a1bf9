"""An installation as docs/install.md says: its commands as they stand, without a network."""

import re
import subprocess
import sys
from pathlib import Path

from tests.vm.machine import Machine
from tests.vm.media import clip, make_card

ROOT = Path(__file__).parents[2]
TREE = "/root/dockd"
"""The source tree, in a machine."""

FIRST_CLIP = clip("first")
"""What the camera has that the page's reader plugs in."""

_PAGE = ROOT / "docs" / "install.md"
_PLUG = "<!-- A camera is plugged in here. -->"
_STEP = re.compile(rf"^```sh\n(.*?)^```$|^({_PLUG})$|^## ([^\n]*)$", re.MULTILINE | re.DOTALL)
_PATIENCE = 900.0


def commands(*, since: str = "", until: str = "") -> list[str]:
    """Return the page's commands from one heading on and up to another; the plug is one too."""
    steps: list[str] = []
    inside = not since
    for command, plug, heading in _STEP.findall(_PAGE.read_text()):
        if heading:
            inside = (inside or heading == since) and heading != until
        elif inside:
            steps.append(plug or command)
    assert steps, f"{_PAGE.name} has no commands from {since!r} to {until!r}"
    return steps


def copy_tree(machine: Machine, folder: Path) -> None:
    """Bring the source tree with a wheelhouse into a machine, by way of a folder here."""
    files = _run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    names = b"\0".join(name for name in files.split(b"\0") if (ROOT / name.decode()).is_file())
    tree = _run("tar", "--create", "--null", "--files-from=-", stdin=names)
    _run("tar", "--extract", f"--directory={folder}", stdin=tree)
    # By the environment that runs this, which has what it takes.
    _run("make", f"--directory={folder}", "wheelhouse", f"VENV={sys.prefix}")
    packed = _run("tar", "--create", f"--directory={folder}", ".")
    machine.run(f"mkdir {TREE} && tar -C {TREE} -x --no-same-owner", stdin=packed)


def install(machine: Machine, folder: Path) -> None:
    """Follow the page up to a station that wipes, with a first camera; the folder is for it."""
    (folder / "tree").mkdir()
    copy_tree(machine, folder / "tree")
    steps = commands(until="Upgrade")
    before = steps.index(_PLUG)
    follow(machine, steps[:before])
    card = make_card(folder / "first.img", {"DCIM/first.mp4": FIRST_CLIP})
    machine.plug(card.path, serial="FIRST")
    machine.wait_for_node("FIRST-0:0-part1")
    follow(machine, steps[before + 1 :])


def follow(machine: Machine, steps: list[str]) -> str:
    """Run some of the page's commands in one shell; returns what they wrote."""
    script = "\n".join(["exec 2>&1", *steps]).encode()
    return machine.run(f"cd {TREE} && exec bash -euo pipefail", stdin=script, timeout=_PATIENCE)


def _run(*command: str, stdin: bytes = b"") -> bytes:
    ended = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, check=False)
    said = (ended.stdout + ended.stderr).decode(errors="replace")
    assert ended.returncode == 0, f"{command}: {said}"
    return ended.stdout
