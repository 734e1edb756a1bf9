"""Daemon and receiver together, against rclone's crypt over WebDAV."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Comparison, Contender, compare, fill, peak_rss
from dockd.demo.layout import DemoReceiver
from dockd.evidence.age import X25519Identity
from dockd.evidence.keys import SigningKey, write_secret_file

RCLONE = str(Path(sys.executable).with_name("rclone"))
CLIPS = 16
CLIP_SIZE = 256 * 2**20

_STATION = """\
[station]
id = "bench"
key_file = "station.key"
state = "station"

[encryption]
recipients = ["{recipient}"]

[spool]
budget = "1 GiB"
reserve = 0

[ingest]
concurrency = 2

[target]
url = "http://127.0.0.1:{port}/files/"
receipts_url = "http://127.0.0.1:{port}/receipts/"
receiver_keys = ["receiver.key.pub"]
concurrency = 2

[control]
socket = ""
listen = ""

[[profiles]]
name = "bench"
rules = [{{ pattern = "*.mp4", kind = "video" }}]

[[folders]]
path = "camera"
serial = "CAM-0001"
profile = "bench"
settle_seconds = 0
"""

_RECEIVER = """\
[receiver]
id = "bench-receiver"
key_file = "receiver.key"

[listen]
port = 0

[store]
path = "store"
reserve = 0

[[stations]]
id = "bench"
public_keys = ["station.key.pub"]
"""

_RCLONE = """\
[dav]
type = webdav
url = http://127.0.0.1:{port}
vendor = other

[sealed]
type = crypt
remote = dav:
password = {password}
"""


class _Mover(Contender):
    """Takes every clip off a camera, through a server of its own."""

    def __init__(self, folder: Path, clips: Path) -> None:
        super().__init__(self.move)
        self.folder = folder
        self.camera = folder / "camera"
        self._clips = clips

    def move(self) -> None:
        """Take every clip off the camera."""
        raise NotImplementedError

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        """Hold a server, its store empty."""
        raise NotImplementedError

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Lay the clips onto the camera as links, which cost no time, and hold a server."""
        self.camera.mkdir(parents=True)
        for clip in self._clips.iterdir():
            (self.camera / clip.name).hardlink_to(clip)
        with self.server():
            yield
        shutil.rmtree(self.folder)


class Dockd(_Mover):
    """``dockd run`` and ``dockd receiver``."""

    peak_rss = 0
    """The daemon's, in bytes, over all runs."""

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        """Hold a receiver with new keys."""
        for name in ("station", "receiver"):
            key = SigningKey.generate()
            write_secret_file(self.folder / f"{name}.key", key.pem())
            (self.folder / f"{name}.key.pub").write_bytes(key.verify_key.pem())
        (self.folder / "receiver.toml").write_text(_RECEIVER)
        receiver = DemoReceiver(self.folder / "receiver.toml", self.folder / "receiver.log")
        recipient = X25519Identity.generate().recipient
        config = _STATION.format(recipient=recipient, port=receiver.port)
        (self.folder / "config.toml").write_text(config)
        try:
            yield
        finally:
            receiver.stop()

    def move(self) -> None:
        """Run the daemon until the camera is wiped."""
        command = [sys.executable, "-m", "dockd", "run", "--config"]
        with (self.folder / "station.log").open("w") as log:
            daemon = subprocess.Popen([*command, str(self.folder / "config.toml")], stderr=log)
        while any(self.camera.iterdir()):
            if daemon.poll() is not None:
                raise ChildProcessError((self.folder / "station.log").read_text())
            time.sleep(0.02)
        self.peak_rss = max(self.peak_rss, peak_rss(daemon.pid))
        daemon.terminate()
        daemon.wait()


class Rclone(_Mover):
    """``rclone move`` through a crypt remote to ``rclone serve webdav``."""

    def __init__(self, folder: Path, clips: Path) -> None:
        super().__init__(folder, clips)
        self._environment = os.environ | {"RCLONE_CONFIG": str(folder / "rclone.conf")}

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        """Hold a WebDAV server."""
        (self.folder / "store").mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        password = self._run("obscure", "a password for the benchmark").strip()
        (self.folder / "rclone.conf").write_text(_RCLONE.format(port=port, password=password))
        command = ["serve", "webdav", "--addr", f"127.0.0.1:{port}", str(self.folder / "store")]
        server = subprocess.Popen([RCLONE, *command], stderr=subprocess.DEVNULL)
        while not _answers(port):
            if server.poll() is not None:
                raise ChildProcessError("rclone serve webdav ended")
        try:
            yield
        finally:
            server.terminate()
            server.wait()

    def move(self) -> None:
        """Run ``rclone move``."""
        self._run("move", str(self.camera), "sealed:")

    def _run(self, *arguments: str) -> str:
        result = subprocess.run(
            [RCLONE, *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        return result.stdout


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def measure(folder: Path, runs: int) -> tuple[Comparison, int]:
    """Compare the two; returns the daemon's peak RSS in bytes as well."""
    clips = folder / "clips"
    clips.mkdir()
    for number in range(CLIPS):
        fill(clips / f"clip-{number:02}.mp4", CLIP_SIZE)
    dockd = Dockd(folder / "dockd", clips)
    comparison = compare(
        f"daemon and receiver, {CLIPS} clips of {CLIP_SIZE >> 20} MiB, tmpfs",
        CLIPS * CLIP_SIZE,
        dockd,
        "rclone move, crypt to webdav",
        Rclone(folder / "rclone", clips),
        at_least=1.5,
        runs=runs,
    )
    shutil.rmtree(clips)
    return comparison, dockd.peak_rss
