"""What the services could do if somebody took them over."""

import pytest

from tests.vm.station import Station

pytestmark = pytest.mark.vm

_PROBE = """\
import pathlib, sys

def attempt(what, path):
    try:
        if what == "read":
            path.read_bytes() if path.is_file() else list(path.iterdir())
        else:
            (path / "probe").write_text("")
    except OSError:
        return
    print(what, path)

for path in map(pathlib.Path, sys.argv[1].split()):
    attempt("read", path)
for path in map(pathlib.Path, sys.argv[2].split()):
    attempt("write", path)
"""
_SECRETS = "/home /home/officer/notes /root /root/notes /etc/credstore /etc/shadow /dev/vda"
_FOLDERS = (
    "/ /boot /dev /dev/shm /etc /etc/dockd /home /home/officer /media /mnt /opt/dockd /proc"
    " /proc/sys/kernel /root /run /run/udev /srv /sys /usr /var /var/cache /var/lib"
    " /var/lib/dockd /var/lib/dockd-receiver /var/log"
)

each_service = pytest.mark.parametrize("service", ["dockd", "dockd-receiver"])


@each_service
def test_a_service_runs_as_its_own_user_confined_and_without_any_capability(
    station: Station, service: str
) -> None:
    run = station.machine.run
    pid = run(f"systemctl show --value --property MainPID {service}").strip()
    status = dict(
        line.split(":\t", 1)
        for line in run(f"cat /proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    user = run(f"id --user {service}").strip()
    assert status["Uid"].split() == [user] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@each_service
def test_systemd_rates_the_exposure_of_a_service_at_1_5_at_most(
    station: Station, service: str
) -> None:
    rating = station.machine.run(
        f"systemd-analyze security --no-pager --threshold=15 {service}.service | tail -n 1"
    )
    assert float(rating.split("level for")[1].split(":")[1].split()[0]) <= 1.5


@each_service
def test_a_service_reads_no_home_and_writes_nowhere_but_to_its_state(
    station: Station, service: str
) -> None:
    machine = station.machine
    machine.run(
        "mkdir -p /home/officer && echo secret > /home/officer/notes"
        " && chmod -R a+rX /home/officer && chmod a+rwx /home/officer"
        " && echo secret > /root/notes"
    )
    machine.put(_PROBE.encode(), "/usr/local/lib/probe.py")
    # The unit as it is, but for what it starts.
    machine.run(
        f"sed -e 's#^ExecStart=.*#ExecStart=/usr/bin/python3 /usr/local/lib/probe.py"
        f' "{_SECRETS}" "{_FOLDERS}"#\''
        " -e 's/^Type=.*/Type=oneshot\\nRemainAfterExit=yes/' -e /^Restart/d -e /^WatchdogSec/d"
        f" /usr/lib/systemd/system/{service}.service > /run/systemd/system/probe.service"
        " && systemctl daemon-reload"
    )
    machine.run("systemctl start probe && journalctl --sync")
    done = machine.run(
        "journalctl --output=cat _COMM=python3"
        " _SYSTEMD_INVOCATION_ID=$(systemctl show --value --property InvocationID probe)"
    )
    assert done.splitlines() == [f"write /var/lib/{service}"]
    machine.run(f"systemctl stop probe && rm /var/lib/{service}/probe")
