"""The daemon and the clock: whether it runs and answers, whether the time is right."""

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
    """Ask whether a time service keeps the clock right; manifests state it."""
    match asyncio.run(is_synchronised(subject.machine.bus_address)):
        case True:
            yield ok("the clock is synchronised")
        case False:
            yield warning(
                "the clock is not synchronised, and manifests will say so",
                "timedatectl set-ntp true, or look at chrony",
            )
        case None:
            yield warning(
                "whether the clock is synchronised can't be told, and manifests won't say so",
                "systemctl status dbus systemd-timedated",
            )


def check_daemon(subject: Subject) -> Findings:
    """Ask the daemon how it is."""
    socket = subject.config.control.socket
    if socket is None:
        yield ok("control.socket is off, so whether the daemon runs can't be asked")
        return
    try:
        status = Client(socket).status()
        yield _said(status)
        yield from _left_alone(status, subject)
    except DaemonDownError as problem:
        if isinstance(problem.__cause__, TimeoutError):
            yield error("the daemon runs, but does not answer", _RESTART)
        else:
            yield warning(problem.message, "systemctl start dockd; journalctl -u dockd")
    except ControlDeniedError as problem:
        yield warning(problem.message, problem.hint)


def _left_alone(status: Status, subject: Subject) -> Findings:
    """Say what nobody has read of the cameras that are plugged in; folders were looked through."""
    folders = {f"{one.profile}:{one.serial}" for one in subject.config.folders}
    for camera in status.cameras:
        left = camera.left_alone
        if camera.id in folders or not left.files:
            continue
        size = shown_size(left.size)
        said = f"{camera.id}: {left.files} files ({size}) fit no rule, and are not read"
        yield error(said, LEFT_ALONE) if left.suspect else ok(said)


def _said(status: Status) -> Finding:
    said = f"the daemon runs as process {status.station.pid}: {status.verdict}"
    if status.verdict is Verdict.NEEDS_PERSON:
        return warning(said, "dockd status says what, and what to do")
    return ok(said)
