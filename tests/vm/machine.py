"""A virtual machine with USB ports: Debian 12 in QEMU, emulated without KVM."""

import itertools
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.vm.image import Image
from tests.vm.journal import Journal
from tests.vm.qmp import Qmp
from tests.vm.shell import PATIENCE, Shell

UNITS = ("dockd.service", "dockd-receiver.service")
"""Whose journal a machine follows."""

PORTS = 15
"""How many USB ports a machine has; they are numbered from 1."""

_READY = "the machine is ready"
_KERNEL = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off nokaslr quiet"
_NO_LIMITS = {"bps-read": 0, "bps-write": 0, "iops-read": 0, "iops-write": 0}


@dataclass(frozen=True)
class Camera:
    """A USB mass storage device; each image is one of its LUNs."""

    name: str
    images: tuple[Path, ...]
    serial: str
    port: int
    bad_sectors: tuple[int, ...] = ()

    @property
    def nodes(self) -> list[str]:
        """QEMU's names of the images."""
        return [f"{self.name}-{lun}" for lun in range(len(self.images))]


@dataclass(frozen=True)
class Traffic:
    """What went over a camera's USB."""

    bytes_read: int
    writes: int


class Machine:
    """A machine with a disk of its own, which starts as a copy of another disk.

    It is off until `boot`; leaving the context is a power cut, and the disk is gone.
    """

    def __init__(self, image: Image, disk: Path | None = None) -> None:
        self.image = image
        self.folder = Path(tempfile.mkdtemp(prefix="dockd-vm-"))
        self.disk = self.folder / "disk.qcow2"
        self.cameras: list[Camera] = []
        self._limits: dict[Camera, dict[str, int]] = {}
        self._names = (f"camera{number}" for number in itertools.count())
        self._process: subprocess.Popen[bytes] | None = None
        _make_overlay(self.disk, disk or image.disk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.power_cut()
        shutil.rmtree(self.folder)

    # Power

    def boot(self) -> None:
        """Start it, with the cameras that are plugged in; returns when ssh answers."""
        assert self._process is None, "it is on"
        ours, theirs = socket.socketpair()
        with (self.folder / "qemu.log").open("ab") as log, theirs:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults"),
                    *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"),
                    *("-display", "none", "-no-reboot", "-S", "-serial", "file:/dev/stdout"),
                    *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)),
                    *("-append", _KERNEL, "-device", "virtio-rng-pci"),
                    *("-drive", f"if=virtio,format=qcow2,discard=unmap,file={self.disk}"),
                    *("-nic", "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
                    *("-device", f"qemu-xhci,id=xhci,p2={PORTS},p3={PORTS}"),
                    *("-chardev", f"socket,id=qmp,fd={theirs.fileno()}"),
                    *("-mon", "chardev=qmp,mode=control"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
        self._console = _Console(self._process, self.folder / "console.log")
        self._qmp = Qmp(ours)
        for camera in self.cameras:
            self._attach(camera)
        self._qmp.execute("cont")
        self._console.wait_for(_READY)
        self.shell = Shell(self.image, self._ssh_port(), self.folder)
        self.journal = Journal(self.shell, UNITS, self.folder / "journal.log")

    def shutdown(self) -> None:
        """Switch it off as a person would."""
        self.run("systemctl poweroff --no-block")
        self._wait_for_end()

    def power_cut(self) -> None:
        """Take the power away; what the machine had not written to its disk is lost."""
        assert self._process is not None, "it is off"
        self._process.kill()
        self._wait_for_end()

    def _wait_for_end(self) -> None:
        assert self._process is not None
        self._process.wait(PATIENCE)
        self._process = None
        self._qmp.close()
        self._console.close()
        if hasattr(self, "journal"):
            self.journal.close()
            self.shell.close()

    def _ssh_port(self) -> int:
        """Return the port of this host that leads to the machine's ssh."""
        networks = self._monitor("info usernet")
        found = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", networks)
        assert found, networks
        return int(found[1])

    def everything_said(self) -> bytes:
        """Return the whole journal since the start, as far as it can be had."""
        if self._process is None:
            return b""
        return self.shell.attempt("journalctl --boot --no-pager -o short-precise").stdout

    # Commands and files

    def run(
        self, command: str, *, stdin: bytes = b"", check: bool = True, timeout: float = PATIENCE
    ) -> str:
        """Run a shell command as root; returns what it wrote to its output."""
        if check:
            return self.shell.read(command, stdin=stdin, timeout=timeout).decode()
        return self.shell.attempt(command, stdin=stdin, timeout=timeout).stdout.decode()

    def put(self, what: bytes | Path, path: str) -> None:
        """Write a file in the machine, of given bytes or as another file is here."""
        data = what if isinstance(what, bytes) else what.read_bytes()
        self.shell.read(f"cat > {path}", stdin=data)

    def get(self, path: str) -> bytes:
        """Return what is in a file of the machine."""
        return self.shell.read(f"cat {path}")

    # Cameras

    def plug(
        self, *images: Path, serial: str, port: int | None = None, bad_sectors: tuple[int, ...] = ()
    ) -> Camera:
        """Plug a camera into a port, or into the first that is free; several images are its LUNs.

        A bad sector (512 bytes, counted from the start of the first image) can't be read.
        """
        taken = {camera.port for camera in self.cameras}
        port = port or min(set(range(1, PORTS + 1)) - taken)
        assert port not in taken, f"port {port} is taken"
        camera = Camera(next(self._names), images, serial, port, bad_sectors)
        self.cameras.append(camera)
        if self._process is not None:
            self._attach(camera)
        return camera

    def unplug(self, camera: Camera) -> None:
        """Pull a camera out, whatever is going on."""
        self.cameras.remove(camera)
        if self._process is None:
            return
        self._qmp.execute("device_del", id=camera.name)
        self._qmp.wait_for("DEVICE_DELETED", device=camera.name)
        for node in camera.nodes:
            self._qmp.execute("blockdev-del", **{"node-name": node})
        self._qmp.execute("object-del", id=camera.name)

    def wait_for_node(self, name: str) -> str:
        """Wait until the machine sees a camera's disk or partition; returns its device node.

        It is named ``<serial>-0:<LUN>``, and ``-part<number>`` for a partition.
        """
        node = f"/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_{name}"
        self.run(f"udevadm wait --settle --timeout={PATIENCE:.0f} {node}")
        return node

    def limit(self, camera: Camera, **limits: int) -> None:
        """Slow a camera down until told otherwise, by names of QEMU's ThrottleLimits."""
        self._limits[camera] = limits
        if self._process is not None:
            self._qmp.execute(
                "qom-set",
                path=f"/objects/{camera.name}",
                property="limits",
                value=_NO_LIMITS | limits,
            )

    def traffic(self, camera: Camera) -> Traffic:
        """Return what the machine has read and written of a camera since it has been there."""
        stats = [
            one["stats"]
            for one in self._qmp.execute("query-blockstats")
            if f"/{camera.name}" in one.get("qdev", "")
        ]
        return Traffic(
            bytes_read=sum(one["rd_bytes"] for one in stats),
            writes=sum(one["wr_operations"] for one in stats),
        )

    def _attach(self, camera: Camera) -> None:
        limits = _NO_LIMITS | self._limits.get(camera, {})
        group = {"qom-type": "throttle-group", "id": camera.name, "limits": limits}
        self._qmp.execute("object-add", **group)
        for node, image in zip(camera.nodes, camera.images, strict=True):
            file: dict[str, object] = {"driver": "file", "filename": str(image)}
            if camera.bad_sectors and image == camera.images[0]:
                errors = [
                    {"event": "none", "iotype": "read", "sector": sector}
                    for sector in camera.bad_sectors
                ]
                file = {"driver": "blkdebug", "image": file, "inject-error": errors}
            file = {"driver": "throttle", "throttle-group": camera.name, "file": file}
            self._qmp.execute("blockdev-add", **{"node-name": node, "driver": "raw", "file": file})
        port = {"id": camera.name, "bus": "xhci.0", "port": str(camera.port)}
        if len(camera.nodes) == 1:
            self._qmp.execute(
                "device_add",
                **port,
                driver="usb-storage",
                drive=camera.nodes[0],
                serial=camera.serial,
                removable=True,
            )
            return
        self._qmp.execute(
            "device_add", **port, driver="usb-bot", serial=camera.serial, attached=False
        )
        for lun, node in enumerate(camera.nodes):
            self._qmp.execute(
                "device_add",
                driver="scsi-hd",
                bus=f"{camera.name}.0",
                lun=lun,
                drive=node,
                removable=True,
            )
        self._qmp.execute(
            "qom-set", path=f"/machine/peripheral/{camera.name}", property="attached", value=True
        )

    def _monitor(self, command: str) -> str:
        said: str = self._qmp.execute("human-monitor-command", **{"command-line": command})
        return said


class _Console:
    """The serial console, which goes to a log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._said = b""
        self._changed = threading.Condition()
        self._ended = False
        self._process = process
        self._follower = threading.Thread(target=self._follow, args=(log,))
        self._follower.start()

    def _follow(self, log: Path) -> None:
        assert self._process.stdout is not None
        with log.open("ab", buffering=0) as copy, self._process.stdout as lines:
            for line in lines:
                copy.write(line)
                with self._changed:
                    self._said += line
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        """Wait until the machine has written a text."""
        with self._changed:
            self._changed.wait_for(lambda: text.encode() in self._said or self._ended, PATIENCE)
            assert text.encode() in self._said, self._said.decode(errors="replace")

    def close(self) -> None:
        """Wait until everything is in the log."""
        self._follower.join()


def _make_overlay(path: Path, disk: Path) -> None:
    """Create a disk that starts as a copy of another one, which must stay as it is."""
    form = "qcow2" if disk.suffix == ".qcow2" else "raw"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", str(disk), str(path)],
        check=True,
    )
