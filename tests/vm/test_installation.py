"""docs/install.md: its commands lead to what they say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.installation import FIRST_CLIP, commands, follow
from tests.vm.lab import Lab
from tests.vm.machine import Machine

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def machine(lab: Lab, installed: Path) -> Iterator[Machine]:
    """The machine on which the page was followed, booted anew."""
    machine = lab.machine(installed)
    machine.boot()
    yield machine
    lab.end(machine)


def test_the_page_leads_to_a_station_that_starts_at_boot_and_a_clip_that_opens(
    machine: Machine,
) -> None:
    machine.journal.wait_for("receiver.started")
    machine.journal.wait_for("daemon.started")
    assert machine.get("/root/evidence-unit/first-clip") == FIRST_CLIP


def test_an_upgrade_goes_on_with_the_state(machine: Machine) -> None:
    since = machine.journal.mark()
    follow(machine, commands(since="Upgrade", until="Uninstall"))
    machine.journal.wait_for("receiver.started", since=since)
    machine.journal.wait_for("daemon.started", since=since)


def test_an_uninstallation_leaves_configuration_keys_and_state_alone(machine: Machine) -> None:
    kept = "find /etc/dockd /etc/credstore /var/lib/dockd /var/lib/dockd-receiver -type f"
    before = machine.run(f"systemctl stop dockd dockd-receiver && {kept}")
    assert "/var/lib/dockd/ledger.db" in before
    follow(machine, commands(since="Uninstall"))
    assert machine.run(kept) == before
    assert machine.run("find /opt /usr /etc/systemd /etc/udev -name '*dockd*'") == ""
