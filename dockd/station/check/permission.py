"""What allows an unprivileged service to mount cameras: the udev rule, udisks2, polkit."""

import asyncio
import os
import pwd
from pathlib import Path

from dbus_fast import DBusError, Variant

from dockd.base.findings import Finding, Findings, error, ok, warning
from dockd.host.dbus import Connection, connected
from dockd.station.check.subject import Subject

_UDEV_RULE = "90-dockd.rules"
_UDEV_FOLDERS = ("etc/udev", "run/udev", "usr/local/lib/udev", "usr/lib/udev", "lib/udev")
"""In the order of udev(7): the first file of a name applies."""
_INSTALL = "make install; see docs/install.md"
_SECONDS = 10.0

_UDISKS = "org.freedesktop.UDisks2"
_POLKIT = "org.freedesktop.PolicyKit1"
_AUTHORITY = "/org/freedesktop/PolicyKit1/Authority"
_MOUNT = "org.freedesktop.udisks2.filesystem-mount-system"
_REMOVABLE = {"drive.removable.bus": "usb"}


def check(subject: Subject) -> Findings:
    """Check the udev rule, and that udisks2 and polkit respond and allow dockd to mount."""
    if not subject.uses_usb:
        yield ok("no profile has USB devices")
        return
    yield _udev_rule(subject.machine.root)
    yield from asyncio.run(_ask_the_bus(subject))


def _udev_rule(root: Path) -> Finding:
    rules = [root / folder / "rules.d" / _UDEV_RULE for folder in _UDEV_FOLDERS]
    rule = next((rule for rule in rules if rule.exists()), None)
    if rule is None:
        return error(f"the udev rule {_UDEV_RULE} is not installed", _INSTALL)
    # An empty file, or a link to /dev/null, is how an administrator switches a rule off.
    if "UDISKS_SYSTEM" not in rule.read_text(errors="replace"):
        return error(f"{rule} tags no device", f"remove it, or: {_INSTALL}")
    return ok(f"{rule} tags USB storage for dockd")


async def _ask_the_bus(subject: Subject) -> list[Finding]:
    try:
        async with connected(subject.machine.bus_address) as bus:
            return [await _udisks(bus), *await _polkit(bus, subject)]
    except DBusError as problem:
        return [error(f"D-Bus: {problem.text}", "systemctl status dbus")]


async def _udisks(bus: Connection) -> Finding:
    manager = f"/{_UDISKS.replace('.', '/')}/Manager"
    try:
        facts = await bus.properties(_UDISKS, manager, f"{_UDISKS}.Manager", seconds=_SECONDS)
    except DBusError as problem:
        remedy = "apt-get install udisks2; systemctl status udisks2"
        return error(f"udisks2 does not respond: {problem.text}", remedy)
    return ok(f"udisks2 {facts['Version']} answers")


async def _polkit(bus: Connection, subject: Subject) -> list[Finding]:
    """Check whether the service's user may mount what the udev rule has tagged."""
    try:
        facts = await bus.properties(_POLKIT, _AUTHORITY, f"{_POLKIT}.Authority", seconds=_SECONDS)
    except DBusError as problem:
        remedy = "apt-get install polkitd; systemctl status polkit"
        return [error(f"polkit does not respond: {problem.text}", remedy)]
    answers = ok(f"polkit {facts['BackendVersion']} answers")
    user = _name(subject.uid)
    if os.geteuid() != 0:
        # A rule looks at the device, and polkit takes word of that from root only.
        said = f"whether {user} may mount cameras is only visible to root"
        return [answers, warning(said, "run dockd check as root")]
    try:
        allowed = await _is_allowed(bus, subject.uid)
    except DBusError as problem:
        return [
            answers,
            warning(f"polkit failed: {problem.text}", "systemctl status polkit"),
        ]
    if not allowed:
        return [answers, error(f"polkit does not allow {user} to mount cameras", _INSTALL)]
    return [answers, ok(f"polkit allows {user} to mount cameras")]


async def _is_allowed(bus: Connection, uid: int) -> bool:
    """Ask polkit about a user (org.freedesktop.PolicyKit1.Authority.CheckAuthorization)."""
    process = {
        "pid": Variant("u", os.getpid()),
        "start-time": Variant("t", _start_time()),
        "uid": Variant("i", uid),
    }
    allowed, _, _ = await bus.call(
        _POLKIT,
        _AUTHORITY,
        f"{_POLKIT}.Authority.CheckAuthorization",
        "(sa{sv})sa{ss}us",
        ["unix-process", process],
        _MOUNT,
        _REMOVABLE,
        0,
        "",
        seconds=_SECONDS,
    )
    return bool(allowed)


def _start_time() -> int:
    """Return this process's start time in clock ticks: field 22 of proc_pid_stat(5)."""
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
