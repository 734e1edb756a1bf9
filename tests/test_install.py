"""make install: what it puts where, that it runs there, and that make uninstall takes it back."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dockd import __version__
from dockd.cli import man
from tests.fetching import alone
from tests.pages import PAGES, ROOT, links

INSTALLED = {f"usr/share/man/man1/{name}" for name in man.pages()} | {
    "usr/bin/dockd",
    "usr/lib/sysctl.d/50-dockd.conf",
    "usr/lib/systemd/system/dockd-receiver.service",
    "usr/lib/systemd/system/dockd.service",
    "usr/lib/sysusers.d/dockd.conf",
    "usr/lib/tmpfiles.d/dockd.conf",
    "usr/lib/udev/rules.d/90-dockd.rules",
    "usr/share/bash-completion/completions/dockd",
    "usr/share/fish/vendor_completions.d/dockd.fish",
    "usr/share/polkit-1/rules.d/50-dockd.rules",
    "usr/share/zsh/vendor-completions/_dockd",
}
"""Apart from the environment and the documentation."""

pytestmark = pytest.mark.slow


def _make(*arguments: str) -> None:
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is installed, from wheels alone."""
    wheels = tmp_path_factory.mktemp("wheelhouse")
    destination = tmp_path_factory.mktemp("destination")
    with alone("build"), pytest.MonkeyPatch.context() as patch:
        # By the environment that runs this, which has what it takes.
        _make("wheelhouse", f"WHEELHOUSE={wheels}", f"VENV={sys.prefix}")
        patch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")  # where nobody answers
        _make("install", f"DESTDIR={destination}", f"WHEELHOUSE={wheels}")
    return destination


def _files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(folder)) for path in found}


def _launch(destination: Path, *arguments: str, cwd: Path) -> str:
    """Run what the launcher runs, where it was installed."""
    launcher = (destination / "usr/bin/dockd").read_text()
    script, places = re.subn(r"(?<= )/opt/", f"{destination}/opt/", launcher)
    assert places == 1
    done = subprocess.run(
        ["sh", "-c", script, "dockd", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_files_go_where_the_system_looks_for_them(installed: Path) -> None:
    rest = {
        path for path in _files(installed) if not path.startswith(("opt/dockd/", "usr/share/doc/"))
    }
    assert rest == INSTALLED
    assert os.access(installed / "usr/bin/dockd", os.X_OK)


def test_links_between_the_installed_pages_hold(installed: Path) -> None:
    documentation = installed / "usr/share/doc/dockd"
    pages = list(documentation.rglob("*.md"))
    assert {page.name for page in pages} == {page.name for page in PAGES}
    for page in pages:
        for link in links(page):
            target = page.parent / link.partition("#")[0]
            assert target.exists(), f"{page.name} links to {link}"


def test_nothing_in_the_environment_depends_on_where_it_was_made(installed: Path) -> None:
    binaries = sorted((installed / "opt/dockd/bin").iterdir())
    assert all(path.is_symlink() and path.name.startswith("python") for path in binaries)
    assert not list(installed.rglob("site-packages/pip"))


def test_the_command_runs_and_takes_no_code_from_the_folder_it_is_run_in(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the folder')\n")
    assert _launch(installed, "--version", cwd=tmp_path) == f"dockd {__version__}"


def test_an_uninstallation_leaves_configuration_keys_and_state(
    installed: Path, tmp_path: Path
) -> None:
    destination = tmp_path / "destination"
    shutil.copytree(installed, destination, symlinks=True)
    kept = {"etc/dockd/config.toml", "etc/credstore/dockd.station.key", "var/lib/dockd/ledger.db"}
    for name in kept:
        (destination / name).parent.mkdir(parents=True)
        (destination / name).touch()
    _make("uninstall", f"DESTDIR={destination}")
    assert _files(destination) == kept
