"""The units' sandboxes as systemd rates them, and who the polkit rules allow what."""

import json
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[1] / "systemd"
MOST_EXPOSURE = 1.5
UDISKS = "org.freedesktop.udisks2."
ACTIONS = [
    f"{UDISKS}{action}{where}"
    for action in ["filesystem-mount", "power-off-drive", "modify-device", "eject-media"]
    for where in ["", "-system", "-other-seat"]
] + [f"{UDISKS}filesystem-unmount-others", "org.freedesktop.login1.reboot"]
USERS = ["dockd", "dockd-receiver", "alice"]
BUSES = ["usb", "ieee1394", None]


@pytest.mark.parametrize("unit", ["dockd.service", "dockd-receiver.service"])
def test_a_service_is_hardly_exposed(unit: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd rates its sandboxes: apt-get install systemd")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SYSTEMD / unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert exposure is not None, rated.stderr
    assert float(exposure[1]) <= MOST_EXPOSURE
    assert not rated.stderr


def _allowed(*files: str) -> set[tuple[str, str, str | None]]:
    """Return which user may do what on which bus, by rules asked one after the other."""
    if shutil.which("node") is None:
        pytest.skip("polkit's rules are JavaScript, which needs node")
    rules = "\n".join((SYSTEMD / name).read_text() for name in files)
    cases = list(product(USERS, ACTIONS, BUSES))
    script = f"""
        const rules = [];
        const polkit = {{
            Result: {{ NO: "no", YES: "yes", NOT_HANDLED: null }},
            addRule: (rule) => rules.push(rule),
        }};
        {rules}
        const decide = ([user, id, bus]) => {{
            const action = {{ id, lookup: (key) => (key === "drive.removable.bus" ? bus : "") }};
            return rules.map((rule) => rule(action, {{ user }})).find((result) => result !== null);
        }};
        console.log(JSON.stringify({json.dumps(cases)}.map((one) => decide(one) ?? null)));
    """
    done = subprocess.run(
        ["node", "--eval", script], capture_output=True, text=True, check=True, timeout=60
    )
    decisions = dict(zip(cases, json.loads(done.stdout), strict=True))
    # Others' affairs are left to other rules.
    assert {user for (user, _, _), decision in decisions.items() if decision} == {"dockd"}
    return {case for case, decision in decisions.items() if decision == "yes"}


def test_the_station_may_mount_marked_usb_media_and_nothing_else() -> None:
    mount = ("dockd", f"{UDISKS}filesystem-mount-system", "usb")
    assert _allowed("dockd.polkit.rules") == {mount}


def test_a_second_rule_adds_switching_off_and_nothing_else() -> None:
    assert _allowed("dockd-power-off.polkit.rules", "dockd.polkit.rules") == {
        ("dockd", f"{UDISKS}filesystem-mount-system", "usb"),
        ("dockd", f"{UDISKS}power-off-drive-system", "usb"),
    }
