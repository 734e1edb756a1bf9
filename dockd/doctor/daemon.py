"""The daemon and the clock: whether it runs and answers, whether the time is right."""

import asyncio

import httpx

from dockd.control.client import Client
from dockd.control.views import Status, Verdict
from dockd.doctor.findings import Finding, Findings, error, ok, warning
from dockd.doctor.subject import Subject
from dockd.errors import ControlDeniedError, DaemonDownError
from dockd.timesync import is_synchronised

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
        with Client(socket) as client:
            yield _said(client.status())
    except DaemonDownError as problem:
        if isinstance(problem.__cause__, httpx.TimeoutException):
            yield error("the daemon runs, but does not answer", _RESTART)
        else:
            yield warning(problem.message, "systemctl start dockd; journalctl -u dockd")
    except ControlDeniedError as problem:
        yield warning(problem.message, problem.hint)


def _said(status: Status) -> Finding:
    said = f"the daemon runs as process {status.station.pid}: {status.verdict}"
    if status.verdict is Verdict.NEEDS_PERSON:
        return warning(said, "dockd status says what, and what to do")
    return ok(said)
