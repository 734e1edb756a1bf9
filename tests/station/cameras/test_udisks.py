import asyncio
import os
import pwd
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import DBusError, ErrorType, Variant

from dockd.base.errors import CameraLostError, MountError
from dockd.station.cameras.devices import Volume
from dockd.station.cameras.udisks import UdisksMounter
from tests.bus import Answer, Bus, Service, private_bus
from tests.clocks import FakeClock
from tests.mounts import mounted_tmpfs, volume
from tests.support import open_descriptors

CAMERA = volume(os.makedev(8, 17))
OURS = Path("/media", pwd.getpwuid(os.geteuid()).pw_name, "CAMERA")
ERROR = "org.freedesktop.UDisks2.Error"

Work = Callable[[UdisksMounter], Coroutine[Any, Any, None]]


class Udisks(Service):
    """udisks2 that knows one volume."""

    block = "/org/freedesktop/UDisks2/block_devices/sdb1"
    drive = "/org/freedesktop/UDisks2/drives/Camera"

    def __init__(self, volume: Volume, seen_at: Path) -> None:
        answers: dict[str, Answer] = {
            "ResolveDevice": ("ao", self._resolve),
            "GetAll": ("a{sv}", self._properties),
            "Mount": ("s", self._mount),
            "Unmount": ("", self._unmount),
            "PowerOff": ("", self._power_off),
        }
        super().__init__("org.freedesktop.UDisks2", answers)
        self.number = volume.number
        self.uuid = volume.uuid
        self.node = volume.node
        self.seen_at = seen_at
        """What a mount answers."""
        self.points: list[bytes] = []
        self.configuration: list[list[Any]] = []
        self.there = True

    def pull(self) -> None:
        self.there = False

    def put_in(self) -> None:
        self.there = True

    def asked_of(self, path: str) -> list[str]:
        return [method for asked, method, _ in self.asked if asked == path]

    def worked(self) -> list[str]:
        """What was done to the volume, in order."""
        return [method for method in self.asked_of(self.block) if method != "GetAll"]

    def _resolve(self, path: str, device: dict[str, Variant], _: object) -> list[str]:
        assert path == "/org/freedesktop/UDisks2/Manager"
        known = self.there and device["path"].value == self.node
        return [self.block] if known else []

    def _properties(self, path: str, interface: str) -> dict[str, Variant]:
        self._must_be(path, self.block)
        if interface.endswith(".Block"):
            return {
                "DeviceNumber": Variant("t", self.number),
                "IdUUID": Variant("s", self.uuid),
                "Drive": Variant("o", self.drive),
                "Configuration": Variant("a(sa{sv})", self.configuration),
            }
        return {"MountPoints": Variant("aay", [point + b"\0" for point in self.points])}

    def _mount(self, path: str, _: object) -> str:
        self._must_be(path, self.block)
        self.points = [bytes(OURS)]
        return str(self.seen_at)

    def _unmount(self, path: str, _: object) -> None:
        self._must_be(path, self.block)
        self.points = []

    def _power_off(self, path: str, _: object) -> None:
        self._must_be(path, self.drive)
        self.there = False

    def _must_be(self, path: str, expected: str) -> None:
        if path != expected or not self.there:
            raise DBusError("org.freedesktop.DBus.Error.UnknownMethod", "no such object")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    with private_bus(tmp_path) as bus:
        yield bus


def run(bus: Bus, udisks: Udisks, work: Work, clock: FakeClock) -> None:
    """Let a mounter do some work on a bus where udisks2 is."""

    async def main() -> None:
        async with udisks.on(bus):
            await work(UdisksMounter(clock, bus_address=bus.address))

    before = open_descriptors()
    asyncio.run(main())
    assert open_descriptors() == before


@pytest.fixture
def udisks() -> Udisks:
    return Udisks(CAMERA, seen_at=Path("/nowhere"))


@pytest.mark.parametrize(("writable", "access"), [(False, "ro"), (True, "rw")])
def test_a_volume_is_mounted_with_exactly_these_options(
    bus: Bus, tmp_path: Path, writable: bool, access: str
) -> None:
    point = tmp_path / "camera"

    async def work(mounter: UdisksMounter) -> None:
        assert await mounter.mount(camera, writable=writable) == point

    with mounted_tmpfs(point, f"{access},nosuid,nodev,noexec") as camera:
        udisks = Udisks(camera, seen_at=point)
        run(bus, udisks, work, FakeClock())
    [[options]] = udisks.calls("Mount")
    assert options == {
        "auth.no_user_interaction": Variant("b", True),
        "options": Variant("s", f"{access},nosuid,nodev,noexec"),
    }
    assert not udisks.calls("Unmount")


def test_a_device_that_udisks_does_not_know_yet_is_waited_for(bus: Bus, tmp_path: Path) -> None:
    clock = FakeClock()

    async def work(mounter: UdisksMounter) -> None:
        await mounter.mount(camera, writable=False)

    with mounted_tmpfs(tmp_path / "camera", "ro,nosuid,nodev,noexec") as camera:
        udisks = Udisks(camera, seen_at=tmp_path / "camera")
        udisks.there = False
        udisks.faults["ResolveDevice"] = [None, None, udisks.put_in]
        run(bus, udisks, work, clock)
    assert len(udisks.calls("ResolveDevice")) == 3
    assert len(clock.slept) == 2


def test_a_file_system_that_udisks_does_not_know_yet_is_waited_for(
    bus: Bus, udisks: Udisks
) -> None:
    clock = FakeClock()
    udisks.faults["GetAll"] = [None, DBusError(ErrorType.INVALID_ARGS, "No such interface")]
    run(bus, udisks, mount_fails("can't be reached at /nowhere"), clock)
    assert udisks.worked()[0] == "Mount"
    assert clock.slept == [0.25]


@pytest.mark.parametrize("other", [{"number": os.makedev(8, 33)}, {"uuid": "AAAA-0000"}])
def test_another_device_under_the_same_name_is_never_mounted(
    bus: Bus, udisks: Udisks, other: dict[str, Any]
) -> None:
    clock = FakeClock()
    vars(udisks).update(other)
    run(bus, udisks, mount_fails("udisks2 does not know /dev/sdb1"), clock)
    assert not udisks.calls("Mount")
    assert clock.elapsed == pytest.approx(10, abs=1)


def test_what_a_killed_daemon_left_mounted_is_mounted_anew(bus: Bus, udisks: Udisks) -> None:
    udisks.points = [bytes(OURS)]
    run(bus, udisks, mount_fails("can't be reached at /nowhere"), FakeClock())
    assert udisks.worked()[:2] == ["Unmount", "Mount"]


@pytest.mark.parametrize(
    "points",
    [[b"/mnt"], [b"/media/somebody/CAMERA"], [b"/media/CAMERA"], [bytes(OURS), b"/mnt"]],
)
def test_what_somebody_else_has_mounted_is_refused_and_not_touched(
    bus: Bus, udisks: Udisks, points: list[bytes]
) -> None:
    udisks.points = points
    where = os.fsdecode(points[-1])
    failing = mount_fails(f"/dev/sdb1 is mounted at {where} elsewhere", hint="automounters")
    run(bus, udisks, failing, FakeClock())
    assert not udisks.worked()


def test_what_somebody_else_has_mounted_is_not_unmounted(bus: Bus, udisks: Udisks) -> None:
    async def work(mounter: UdisksMounter) -> None:
        with pytest.raises(MountError, match="is still mounted at /mnt"):
            await mounter.unmount(CAMERA)

    udisks.points = [b"/mnt"]
    run(bus, udisks, work, FakeClock())
    assert not udisks.worked()


def test_a_device_of_fstab_is_refused(bus: Bus, udisks: Udisks) -> None:
    udisks.configuration = [["fstab", {"dir": Variant("ay", b"/mnt\0")}]]
    run(bus, udisks, mount_fails("is in /etc/fstab", hint="/etc/fstab"), FakeClock())
    assert not udisks.worked()


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (f"{ERROR}.NotAuthorized", "Not authorized to perform operation", "polkit"),
        (f"{ERROR}.NotAuthorizedCanObtain", "Not authorized to perform operation", "polkit"),
        (f"{ERROR}.AlreadyMounted", "already mounted at `/mnt'", "automounters"),
        (f"{ERROR}.OptionNotPermitted", "`noexec' is not allowed", "mount_options.conf"),
        (f"{ERROR}.Failed", "wrong fs type, bad option, bad superblock on", "damaged"),
        (f"{ERROR}.Failed", "mount(2) failed: Structure needs cleaning.", "damaged"),
        (f"{ERROR}.Failed", "/dev/sdb1 is write-protected but", "lock switch"),
        (f"{ERROR}.Failed", "unknown filesystem type 'exfat'", "kernel"),
        ("org.freedesktop.systemd1.UnitMasked", "Unit is masked.", "systemctl status udisks2"),
        ("org.freedesktop.DBus.Error.Spawn.ChildExited", "status 1", "systemctl status udisks2"),
        ("org.freedesktop.DBus.Error.NoReply", "the caller went away", "reconnect the camera"),
        ("org.freedesktop.DBus.Error.AccessDenied", "Rejected send message", "accepts dockd"),
    ],
)
def test_a_refusal_says_why_and_what_a_person_can_do(
    bus: Bus, udisks: Udisks, error: str, text: str, hint: str
) -> None:
    udisks.faults["Mount"] = [DBusError(error, text)]
    detail = f"udisks2 can't mount /dev/sdb1: {text}"
    run(bus, udisks, mount_fails(detail, hint=hint), FakeClock())
    assert udisks.worked() == ["Mount"]


def test_without_udisks_the_hint_is_to_install_it(bus: Bus) -> None:
    mounter = UdisksMounter(FakeClock(), bus_address=bus.address)
    asyncio.run(mount_fails("can't mount /dev/sdb1", hint="install and start udisks2")(mounter))


def test_without_a_bus_the_hint_is_to_look_at_it(tmp_path: Path) -> None:
    mounter = UdisksMounter(FakeClock(), bus_address=f"unix:path={tmp_path}/none")
    asyncio.run(mount_fails("no connection to the bus", hint="systemctl status dbus")(mounter))


def test_a_bus_that_was_restarted_is_used_again(bus: Bus, udisks: Udisks) -> None:
    mounter = UdisksMounter(FakeClock(), bus_address=bus.address)
    udisks.points = [bytes(OURS)]

    async def main() -> None:
        async with udisks.on(bus):
            udisks.faults["Mount"] = [bus.vanish]
            udisks.points = []
            await mount_fails("the connection broke", hint="systemctl status dbus")(mounter)
        bus.start()
        udisks.points = [bytes(OURS)]
        async with udisks.on(bus):
            await mounter.unmount(CAMERA)

    asyncio.run(main())
    assert udisks.worked() == ["Mount", "Unmount"]


def test_a_camera_that_is_pulled_while_it_is_mounted_is_lost(bus: Bus, udisks: Udisks) -> None:
    async def work(mounter: UdisksMounter) -> None:
        with pytest.raises(CameraLostError):
            await mounter.mount(CAMERA, writable=False)

    udisks.faults["Mount"] = [udisks.pull]
    run(bus, udisks, work, FakeClock())


def test_a_mount_that_is_not_as_it_must_be_is_undone(bus: Bus, udisks: Udisks) -> None:
    run(bus, udisks, mount_fails("can't be reached at /nowhere"), FakeClock())
    assert udisks.worked() == ["Mount", "Unmount"]
    assert not udisks.points


def test_a_mount_that_is_cancelled_leaves_nothing_mounted(bus: Bus, udisks: Udisks) -> None:
    async def work(mounter: UdisksMounter) -> None:
        mounting = asyncio.ensure_future(mounter.mount(CAMERA, writable=True))
        mounted = asyncio.get_running_loop().create_future()

        def cancelled_half_way() -> asyncio.Future[None]:
            mounting.cancel()
            asyncio.get_running_loop().call_later(0.05, mounted.set_result, None)
            return mounted

        udisks.faults["Mount"] = [cancelled_half_way]
        with pytest.raises(asyncio.CancelledError):
            await mounting
        assert mounted.done()

    run(bus, udisks, work, FakeClock())
    assert udisks.worked() == ["Mount", "Unmount"]


def test_a_mount_that_is_cancelled_before_it_began_never_begins(bus: Bus, udisks: Udisks) -> None:
    async def work(mounter: UdisksMounter) -> None:
        mounting = asyncio.ensure_future(mounter.mount(CAMERA, writable=True))
        udisks.faults["ResolveDevice"] = [mounting.cancel]
        with pytest.raises(asyncio.CancelledError):
            await mounting

    run(bus, udisks, work, FakeClock())
    assert not udisks.worked()


def test_an_answer_with_control_characters_of_a_label_is_told_in_one_line(
    bus: Bus, udisks: Udisks
) -> None:
    text = "Error mounting /dev/sdb1 at /media/dockd/A\n\x1b[31mB: failed"
    udisks.faults["Mount"] = [DBusError(f"{ERROR}.Failed", text)]

    async def work(mounter: UdisksMounter) -> None:
        with pytest.raises(MountError, match=r"A\\x0a\\x1b\[31mB: failed"):
            await mounter.mount(CAMERA, writable=False)

    run(bus, udisks, work, FakeClock())


def test_a_busy_volume_is_unmounted_as_soon_as_it_is_not(bus: Bus, udisks: Udisks) -> None:
    clock = FakeClock()
    udisks.points = [bytes(OURS)]
    udisks.faults["Unmount"] = [DBusError(f"{ERROR}.DeviceBusy", "target is busy")] * 6
    run(bus, udisks, lambda mounter: mounter.unmount(CAMERA), clock)
    assert not udisks.points
    assert clock.slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])


def test_a_volume_that_stays_busy_is_not_unmounted_by_force(bus: Bus, udisks: Udisks) -> None:
    clock = FakeClock()
    udisks.points = [bytes(OURS)]
    udisks.faults["Unmount"] = [DBusError(f"{ERROR}.DeviceBusy", "target is busy")] * 100

    async def work(mounter: UdisksMounter) -> None:
        with pytest.raises(MountError, match="can't unmount /dev/sdb1: target is busy") as caught:
            await mounter.unmount(CAMERA)
        assert "fuser" in caught.value.hint

    run(bus, udisks, work, clock)
    assert clock.elapsed == pytest.approx(30, abs=2)
    assert {tuple(options) for [options] in udisks.calls("Unmount")} == {
        ("auth.no_user_interaction",)
    }


def test_a_volume_that_is_still_seen_is_still_mounted_whatever_udisks_says(
    bus: Bus, tmp_path: Path
) -> None:
    clock = FakeClock()
    point = tmp_path / "camera"

    async def work(mounter: UdisksMounter) -> None:
        with pytest.raises(MountError, match=f"is still mounted at {point}"):
            await mounter.unmount(camera)

    with mounted_tmpfs(point, "ro,nosuid,nodev,noexec") as camera:
        run(bus, Udisks(camera, seen_at=point), work, clock)
    assert clock.elapsed == pytest.approx(30, abs=2)


def not_mounted(udisks: Udisks) -> None:
    udisks.points = []


def gone(udisks: Udisks) -> None:
    udisks.there = False


def just_unmounted(udisks: Udisks) -> None:
    def fault() -> None:
        udisks.points = []
        raise DBusError(f"{ERROR}.NotMounted", "not mounted")

    udisks.faults["Unmount"] = [fault]


def pulled_while_busy(udisks: Udisks) -> None:
    def fault() -> None:
        udisks.there = False
        raise DBusError(f"{ERROR}.DeviceBusy", "target is busy")

    udisks.faults["Unmount"] = [fault]


def pulled_while_looked_up(udisks: Udisks) -> None:
    udisks.faults["GetAll"] = [udisks.pull]


@pytest.mark.parametrize(
    "state", [not_mounted, gone, just_unmounted, pulled_while_busy, pulled_while_looked_up]
)
def test_there_is_nothing_to_unmount_of_a_volume_that_is(
    bus: Bus, udisks: Udisks, state: Callable[[Udisks], None]
) -> None:
    udisks.points = [bytes(OURS)]
    state(udisks)
    run(bus, udisks, lambda mounter: mounter.unmount(CAMERA), FakeClock())


def test_a_device_is_switched_off_once(bus: Bus, udisks: Udisks) -> None:
    async def work(mounter: UdisksMounter) -> None:
        await mounter.power_off(CAMERA)
        await mounter.power_off(CAMERA)

    run(bus, udisks, work, FakeClock())
    assert udisks.asked_of(udisks.drive) == ["PowerOff"]


def test_a_device_that_vanishes_while_it_is_switched_off_is_off(bus: Bus, udisks: Udisks) -> None:
    udisks.faults["PowerOff"] = [udisks.pull]
    run(bus, udisks, lambda mounter: mounter.power_off(CAMERA), FakeClock())


def test_a_device_that_can_not_be_switched_off_is_told_of(bus: Bus, udisks: Udisks) -> None:
    async def work(mounter: UdisksMounter) -> None:
        with pytest.raises(MountError, match="can't switch off /dev/sdb1: The drive in use"):
            await mounter.power_off(CAMERA)

    udisks.faults["PowerOff"] = [DBusError(f"{ERROR}.Failed", "The drive in use")]
    run(bus, udisks, work, FakeClock())


def mount_fails(detail: str, *, hint: str = "", camera: Volume = CAMERA) -> Work:
    async def work(mounter: UdisksMounter) -> None:
        with pytest.raises(MountError) as caught:
            await mounter.mount(camera, writable=False)
        assert detail in caught.value.detail
        assert hint in caught.value.hint
        assert caught.value.hint

    return work
