"""What the tests in virtual machines share: one installation, and one station that works on."""

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.vm.installation import install
from tests.vm.lab import Lab
from tests.vm.station import Station

_LAB = pytest.StashKey[Lab]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the machines' logs of a test that failed, while the machines are there."""
    report = yield
    if report.failed and _LAB in item.config.stash:
        item.config.stash[_LAB].keep_logs(item.name)
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say where the logs are."""
    if _LAB in config.stash and config.stash[_LAB].logs.exists():
        terminalreporter.line(f"logs of the machines: {config.stash[_LAB].logs}")


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """The machines of this run."""
    lab = pytestconfig.stash[_LAB] = Lab()
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def installed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a machine on which docs/install.md was followed."""
    folder = tmp_path_factory.mktemp("installation")
    machine = lab.machine()
    machine.boot()
    install(machine, folder)
    machine.shutdown()
    disk = folder / "installed.qcow2"
    shutil.copy(machine.disk, disk)
    lab.end(machine)
    return disk


@pytest.fixture(scope="session")
def _running(lab: Lab, installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Station:
    machine = lab.machine(installed)
    machine.boot()
    station = Station(machine, tmp_path_factory.mktemp("station"))
    station.set_up()
    return station


@pytest.fixture
def station(_running: Station) -> Iterator[Station]:
    """A running station with an empty dock; its ledger goes on from test to test."""
    yield _running
    _running.clear()
