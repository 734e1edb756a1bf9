"""The daemon and the clock: whether it runs and responds, whether the time is right."""

import asyncio

from dockd.base.errors import ControlDeniedError, DaemonDownError
from dockd.base.findings import Finding, Findings, error, ok, warning
from dockd.base.sizes import shown_size
from dockd.host.timesync import is_synchronised
from dockd.station.check.cameras import LEFT_ALONE
from dockd.station.check.subject import Subject
from dockd.station.control.client import Client
from dockd.station.control.views import Status, Verdict

_RESTART = "journalctl -u dockd; systemctl restart dockd loses nothing"


def check_clock(subject: Subject) -> Findings:
    """Check whether the clock is synchronised; manifests state it."""
    match asyncio.run(is_synchronised(subject.machine.bus_address)):
        case True:
            yield ok("the clock is synchronised")
        case False:
            yield warning(
                "the clock is not synchronised, and manifests will state that",
                "timedatectl set-ntp true, or check chrony",
            )
        case None:
            yield warning(
                "whether the clock is synchronised is unknown, and manifests won't state it",
                "systemctl status dbus systemd-timedated",
            )


def check_daemon(subject: Subject) -> Findings:
    """Query the daemon's status."""
    socket = subject.config.control.socket
    if socket is None:
        yield ok("control.socket is off, so the daemon can't be queried")
        return
    try:
        status = Client(socket).status()
        yield _said(status)
        yield from _left_alone(status, subject)
    except DaemonDownError as problem:
        if isinstance(problem.__cause__, TimeoutError):
            yield error("the daemon is running, but does not respond", _RESTART)
        else:
            yield warning(problem.message, "systemctl start dockd; journalctl -u dockd")
    except ControlDeniedError as problem:
        yield warning(problem.message, problem.hint)


def _left_alone(status: Status, subject: Subject) -> Findings:
    """Report files that were not read from plugged-in cameras; folders were scanned."""
    folders = {f"{one.profile}:{one.serial}" for one in subject.config.folders}
    for camera in status.cameras:
        left = camera.left_alone
        if camera.id in folders or not left.files:
            continue
        size = shown_size(left.size)
        said = f"{camera.id}: {left.files} files ({size}) match no rule, and are not read"
        yield error(said, LEFT_ALONE) if left.suspect else ok(said)


def _said(status: Status) -> Finding:
    said = f"the daemon is running as process {status.station.pid}: {status.verdict}"
    if status.verdict is Verdict.NEEDS_PERSON:
        return warning(said, "dockd status says what, and what to do")
    return ok(said)
