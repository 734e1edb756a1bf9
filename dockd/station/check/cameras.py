"""Plugged-in devices and folders, and which profiles they match."""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dbus_fast import DBusError, Variant

from dockd.base.errors import CameraRefusedError, SourceError
from dockd.base.findings import Finding, Findings, error, failure, fenced, ok, warning
from dockd.host.dbus import connected
from dockd.host.users import as_user, can_be, unreadable
from dockd.station.cameras.devices import Device
from dockd.station.cameras.filesystems import NETWORK_TYPES, filesystem_types
from dockd.station.cameras.fitting import examined, fits
from dockd.station.cameras.identity import Verdict, place_of, recognise
from dockd.station.cameras.profile import Profile
from dockd.station.cameras.tree import Root, advice, walk
from dockd.station.check.subject import Subject
from dockd.station.config import FolderConfig
from dockd.station.model import Camera, display_path

LEFT_ALONE = "write rules for them, or rules of kind ignore; dockd profile test shows what matches"
_NAMED = 3
_MOST_LOOKED_AT = 10_000
_SECONDS = 10.0
_UDISKS = "org.freedesktop.UDisks2"
_MANAGER = "/org/freedesktop/UDisks2/Manager"


def check(subject: Subject) -> Findings:
    """Report which camera each folder and USB storage device is, if any."""
    yield from _shared_names(subject)
    for folder in subject.config.folders:
        yield from fenced(f"folder {folder.path}", _folder(folder, subject))
    if not subject.uses_usb:
        return
    try:
        devices = subject.machine.udev.devices()
    except SourceError as problem:
        yield failure(problem)
        return
    if not devices:
        yield ok("no USB storage device is plugged in")
        return
    marked = asyncio.run(_marked(devices, subject.machine.bus_address))
    for device, verdict in recognise(devices, subject.config.profiles).items():
        yield _device(place_of(device, subject.config.bays), device, verdict, marked)


def _shared_names(subject: Subject) -> Findings:
    """Report bays with the same name."""
    config = subject.config
    names = [folder.bay for folder in config.folders if folder.bay]
    names += [bay.name for bay in config.bays]
    for name, count in Counter(names).items():
        if count > 1:
            yield warning(
                f"{count} folders or ports are named bay {name}: they can't be told apart",
                "make folders.bay and bays.name unique",
            )


def _folder(folder: FolderConfig, subject: Subject) -> Findings:
    camera = f"{folder.profile}:{folder.serial}"
    if not can_be(subject.uid):
        yield warning(
            f"{folder.path}: {camera}: access by the service's user {subject.uid} was not checked",
            "run dockd check as root, or as that user",
        )
        return
    try:
        is_there = as_user(subject.uid, folder.path.is_dir)
    except PermissionError:
        yield error(
            f"{folder.path} can't be accessed by the service's user {subject.uid}",
            f"grant that user access to its parent folders: setfacl -m u:{subject.uid}:x on each",
        )
        return
    if is_there:
        yield from _files(folder, subject)
        yield from _writers(folder, subject)
    else:
        yield ok(f"{folder.path} does not exist: {camera} is not docked")


def _files(folder: FolderConfig, subject: Subject) -> Findings:
    """Report how the profile classifies the files of a folder camera."""
    profile = next(one for one in subject.config.profiles if one.name == folder.profile)
    try:
        seen = as_user(subject.uid, lambda: examined(folder.path, Profile(profile)))
    except PermissionError as refused:
        yield error(
            f"{refused.filename or folder.path} can't be read by the service's user {subject.uid}",
            f"grant access: setfacl -R -m u:{subject.uid}:rwX {folder.path}",
        )
        return
    said = f"{folder.path}: {folder.profile}:{folder.serial}, {seen.summary()}"
    yield error(said, LEFT_ALONE) if seen.left_alone.suspect else ok(said)
    for path, problem in islice(seen.failures.items(), _NAMED):
        yield error(
            f"{folder.path}: {display_path(path)} can't be accessed by the service's user:"
            f" {problem.strerror}",
            advice(problem, "check the disk of the folder; see dmesg"),
        )
    shut = as_user(subject.uid, lambda: _shut(folder.path, Profile(profile)))
    if shut.unreadable:
        yield error(
            f"{folder.path}: {shut.unreadable} can't be read by the service's user {subject.uid}",
            f"grant access: setfacl -R -m u:{subject.uid}:rwX {folder.path}",
        )
    if shut.unwritable and subject.config.wipe.policy in {"delete", "overwrite"}:
        yield error(
            f"{shut.unwritable} can't be written by the service's user {subject.uid}, so that its"
            " clips can't be wiped",
            f"grant access: setfacl -R -m u:{subject.uid}:rwX {folder.path};"
            ' or wipe.policy = "keep"',
        )


@dataclass(frozen=True)
class _Shut:
    """What is inaccessible of a folder camera."""

    unreadable: str
    """The first clip that can't be read."""
    unwritable: str
    """The first folder of a clip that can't be written."""


def _shut(folder: Path, profile: Profile) -> _Shut:
    unread = unwritten = ""
    folders: set[Path] = set()
    for path, _, fit in fits(folder, profile, {}):
        if fit is None or fit.match is None:
            continue
        file = folder / os.fsdecode(path)
        if not unread and isinstance(unreadable(file), PermissionError):
            unread = display_path(path)
        folders.add(file.parent)
    for parent in sorted(folders):
        if not os.access(parent, os.W_OK | os.X_OK):
            unwritten = display_path(os.fsencode(parent))
            break
    return _Shut(unread, unwritten)


def _writers(folder: FolderConfig, subject: Subject) -> Findings:
    """Report where open files can't be detected."""
    why = ""
    if networks := filesystem_types(folder.path) & NETWORK_TYPES:
        why = f"on {', '.join(sorted(networks))}"
    elif subject.uid and (foreign := _foreign(folder, subject.uid)):
        why = f"in files of other users ({foreign})"
    if why:
        seconds = max(folder.quiet_seconds, folder.settle_seconds)
        yield ok(
            f"{folder.path}: dockd can't detect writers {why}: a file is read after quiet_seconds,"
            f" {seconds:.0f} s, without a change"
        )


def _foreign(folder: FolderConfig, uid: int) -> str:
    """Return a file of another user, if one of the first is."""
    try:
        for listed in islice(walk(Root(folder.path), {}), _MOST_LOOKED_AT):
            if listed.status.st_uid != uid:
                return display_path(listed.path)
    except OSError:
        pass  # told of already
    return ""


async def _marked(devices: Sequence[Device], bus_address: str | None) -> Mapping[str, bool]:
    """Return which volumes udisks2 knows as tagged by the udev rule; empty without udisks2."""
    marked = {}
    try:
        async with connected(bus_address) as bus:
            for node in (volume.node for device in devices for volume in device.volumes):
                method, about = f"{_UDISKS}.Manager.ResolveDevice", {"path": Variant("s", node)}
                paths = await bus.call(
                    _UDISKS, _MANAGER, method, "a{sv}a{sv}", about, {}, seconds=_SECONDS
                )
                for path in paths:
                    block = await bus.properties(
                        _UDISKS, path, f"{_UDISKS}.Block", seconds=_SECONDS
                    )
                    marked[node] = bool(block["HintSystem"])
    except DBusError:
        # What is wrong with it is told by the check of permissions.
        return {}
    return marked


def _device(place: str, device: Device, verdict: Verdict, marked: Mapping[str, bool]) -> Finding:
    match verdict:
        case Camera():
            unmarked = [one.node for one in device.volumes if not marked.get(one.node, True)]
            if unmarked:
                return error(
                    f"{place}: {verdict.id} is not marked by the udev rule ({', '.join(unmarked)})",
                    "udevadm control --reload, then reconnect the camera",
                )
            return ok(f"{place}: {verdict.id}")
        case CameraRefusedError():
            return failure(verdict)
        case None:
            kind = f"{device.vendor}:{device.product} {device.model}".rstrip()
            return ok(f"{place}: {kind} matches no profile, and is left alone")
