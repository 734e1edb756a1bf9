"""The demo's throw-away keys, cameras, receiver and station."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from dockd.base.errors import StoreError, UsageError
from dockd.evidence.age import X25519Identity
from dockd.evidence.keys import Role, SigningKey, write_secret_file
from dockd.evidence.statements import Content
from dockd.station.model import Camera

_MIB = 2**20
_CLIPS = [  # camera, path, bytes
    ("CAM-0001", "PC1042/20260114073000.mp4", 48 * _MIB),
    ("CAM-0001", "PC1042/20260114081500_E.mp4", 64 * _MIB),
    ("CAM-0001", "PC1042/20260114081500.gps", 20_000),
    ("CAM-0002", "PC2205/20260114090210.mp4", 32 * _MIB),
    ("CAM-0002", "PC2205/20260114101133.mp4", 24 * _MIB + 12_345),
    ("CAM-0002", "PC2205/20260114101133.gps", 0),
]
_CAMERAS = ("CAM-0001", "CAM-0002")
_PROFILE = "demo"

_STATION = """\
[station]
id = "demo-station"
key_file = "station.key"
state = "station"

[encryption]
recipients = ["{recipient}"]

[spool]
reserve = "64 MiB"

[target]
url = "http://127.0.0.1:{port}/files/"
receipts_url = "http://127.0.0.1:{port}/receipts/"
receiver_keys = ["receiver.key.pub"]
concurrency = 2
retry_first_seconds = 0.2

[control]
socket = ""
listen = ""

[[profiles]]
name = "demo"
rules = [
    {{ pattern = "{{officer}}/{{time}}_E.mp4", kind = "video", event = true }},
    {{ pattern = "{{officer}}/{{time}}.gps", kind = "sidecar" }},
    {{ pattern = "**", kind = "video" }},
]
"""

_FOLDER = """
[[folders]]
path = "cameras/{serial}"
serial = "{serial}"
profile = "demo"
settle_seconds = 0
"""

_RECEIVER = """\
[receiver]
id = "demo-receiver"
key_file = "receiver.key"

[listen]
port = 0

[store]
path = "store"
reserve = "64 MiB"

[[stations]]
id = "demo-station"
public_keys = ["station.key.pub"]
"""


@dataclass(frozen=True)
class LaidOut:
    """A clip as it was on its camera."""

    camera: str
    """The camera's identity, as in manifests."""
    path: str
    size: int
    sha256: str


class DemoSite:
    """A folder with everything that the demo needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = X25519Identity.generate()
        roles: tuple[Role, ...] = ("station", "receiver")
        for role in roles:
            key = SigningKey.generate()
            write_secret_file(folder / f"{role}.key", key.pem(role))
            (folder / f"{role}.key.pub").write_bytes(key.verify_key.pem(role))

    @property
    def store(self) -> Path:
        """Where the receiver keeps clips."""
        return self.folder / "store"

    def camera_root(self, serial: str) -> Path:
        """Where a camera's files are."""
        return self.folder / "cameras" / serial

    def lay_out(self, source: Path | None) -> list[LaidOut]:
        """Fill the cameras with random bytes, or with copies of a folder's files.

        Raises:
            UsageError: the folder has no files.
        """
        for serial in _CAMERAS:
            self.camera_root(serial).mkdir(parents=True)
        if source is None:
            return [self._make(*clip) for clip in _CLIPS]
        files = sorted(path for path in source.rglob("*") if path.is_file())
        if not files:
            raise UsageError(f"{source} has no files", hint="name a folder with clips")
        return [
            self._copy(_CAMERAS[number % len(_CAMERAS)], path, source)
            for number, path in enumerate(files)
        ]

    def _make(self, serial: str, path: str, size: int) -> LaidOut:
        place = self.camera_root(serial) / path
        place.parent.mkdir(exist_ok=True)
        with place.open("wb") as file:
            for start in range(0, size, _MIB):
                file.write(os.urandom(min(_MIB, size - start)))
        return _laid_out(serial, path, place)

    def _copy(self, serial: str, source: Path, folder: Path) -> LaidOut:
        path = source.relative_to(folder)
        place = self.camera_root(serial) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
        return _laid_out(serial, str(path), place)

    def write_station_config(self, port: int) -> Path:
        """Write the station's configuration for a receiver at a port of loopback."""
        path = self.folder / "config.toml"
        text = _STATION.format(recipient=self.identity.recipient, port=port)
        path.write_text(text + "".join(_FOLDER.format(serial=serial) for serial in _CAMERAS))
        return path

    def start_receiver(self) -> "DemoReceiver":
        """Start ``dockd receiver`` as a separate process."""
        path = self.folder / "receiver.toml"
        path.write_text(_RECEIVER)
        return DemoReceiver(path, self.folder / "receiver.log")


class DemoReceiver:
    """A running ``dockd receiver``."""

    def __init__(self, config: Path, log: Path) -> None:
        """Start it and wait until it listens.

        Raises:
            StoreError: it did not start.
        """
        command = [sys.executable, "-m", "dockd", "receiver", "--config", str(config)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._listening = threading.Event()
        self.host, self.port = "", 0
        self._follower = threading.Thread(target=self._follow, args=(log,))
        self._follower.start()
        self._listening.wait()
        if not self.port:
            raise StoreError("the demo's receiver did not start", hint=log.read_text().strip())

    def _follow(self, log: Path) -> None:
        """Keep its log, and find in it where it listens."""
        assert self._process.stderr is not None
        with log.open("w", buffering=1) as copy, self._process.stderr:
            for line in self._process.stderr:
                copy.write(line)
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("event") == "receiver.started":
                    address = urlsplit(event["address"])
                    self.host, self.port = address.hostname or "", address.port or 0
                    self._listening.set()
        self._listening.set()

    def stop(self) -> None:
        """Stop it and wait until it has."""
        self._process.terminate()
        self._process.wait()
        self._follower.join()


def _laid_out(serial: str, path: str, place: Path) -> LaidOut:
    with place.open("rb") as file:
        content = Content.of(iter(partial(file.read, _MIB), b""))
    return LaidOut(Camera(_PROFILE, serial).id, path, content.size, content.sha256)
