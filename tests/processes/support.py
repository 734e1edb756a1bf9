"""A site: a receiver, cameras that are folders, and stations, as real processes."""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from dockd.base.clock import Clock
from dockd.evidence.age import X25519Identity, open_stream
from dockd.evidence.keys import SigningKey, VerifyKey, write_secret_file
from dockd.evidence.statements import Manifest, read_unverified_manifest, verify_receipt
from dockd.station.ledger.ledger import Ledger
from dockd.station.model import Clip
from tests.forking import Forked

PATIENCE = 180.0
"""Seconds that a test waits for what must happen; never reached when all is well."""

Event = dict[str, Any]

_RECEIVER = """\
[receiver]
id = "evidence"
key_file = "receiver.key"

[listen]
port = {port}

[store]
path = "store"
reserve = "{reserve}"
"""

_STATION = """\
[station]
id = "{id}"
key_file = "{id}.key"
state = "{id}"

[encryption]
recipients = ["{recipient}"]

[spool]
reserve = 0
{spool}

[target]
url = "{url}files/"
retry_first_seconds = 0.05
retry_cap_seconds = 0.2
{target}

[wipe]
policy = "{policy}"

[control]
socket = ""
listen = ""

[[profiles]]
name = "bodycam"
rules = [
    {{ pattern = "**/{{time}}_E.mp4", kind = "video", event = true, time_format = "%Y%m%d" }},
    {{ pattern = "{{officer}}/{{time}}.mp4", kind = "video", time_format = "%Y%m%d" }},
    {{ pattern = "**/*.mp4", kind = "video" }},
    {{ pattern = "**/*.gps", kind = "sidecar" }},
]
"""

_CAMERA = """
[[folders]]
path = "{path}"
serial = "{serial}"
profile = "bodycam"
settle_seconds = {settle}
rescan_seconds = 1
"""


class Process:
    """A dockd process whose log a test follows."""

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self.events: list[Event] = []
        self.output = ""
        self._said = threading.Condition()
        self._ended = False
        self._process = Forked(command, **environment)
        self._follower = threading.Thread(target=self._follow, args=(log,))
        self._follower.start()

    def _follow(self, log: Path) -> None:
        with log.open("a") as copy, self._process.stderr:
            for line in self._process.stderr:
                copy.write(line)
                with self._said:
                    self.output += line
                    if line.startswith("{"):
                        self.events.append(json.loads(line))
                    self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()

    def wait_for(
        self, name: str, matches: Callable[[Event], bool] = lambda _: True, *, count: int = 1
    ) -> Event:
        """Wait until the process has logged an event so many times; returns the last one."""

        def found() -> list[Event]:
            return [one for one in self.events if one["event"] == name and matches(one)]

        with self._said:
            self._said.wait_for(lambda: len(found()) >= count or self._ended, PATIENCE)
            assert len(found()) >= count, f"{name} did not come:\n{self.output}"
            return found()[count - 1]

    def wait_for_end_or(self, name: str) -> bool:
        """Wait until the process has ended or logged an event; returns whether it logged it."""
        with self._said:
            self._said.wait_for(
                lambda: self._ended or any(one["event"] == name for one in self.events), PATIENCE
            )
            return any(one["event"] == name for one in self.events)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, looking whenever the process has said something."""
        with self._said:
            assert self._said.wait_for(lambda: holds() or self._ended, PATIENCE), self.output
        assert holds(), self.output

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        code = self._process.wait(PATIENCE)
        self._follower.join()
        return code

    def stop(self) -> int:
        """Ask it to stop, and wait; returns the exit code."""
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self.wait()


class Site:
    """Everything in one folder; leaving the context ends its processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = X25519Identity.generate()
        self.processes: list[Process] = []
        self.url = ""
        self._stations: list[str] = []
        self._make_key("receiver")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes:
            process.kill()

    def _make_key(self, name: str) -> None:
        key = SigningKey.generate()
        write_secret_file(self.folder / f"{name}.key", key.pem())
        (self.folder / f"{name}.pub").write_bytes(key.verify_key.pem())

    def start(self, *command: str, log: str, **environment: str) -> Process:
        """Start a dockd process that ends with the test."""
        process = Process(command, self.folder / f"{log}.log", **environment)
        self.processes.append(process)
        return process

    # The receiver

    def enrol(self, *stations: str) -> None:
        """Give stations that have none yet a key, for the receiver to know when it starts."""
        for station in stations:
            if station not in self._stations:
                self._make_key(station)
                self._stations.append(station)

    def adopt(self, *stations: str) -> None:
        """Take stations in whose keys are in the folder already."""
        self._stations += stations

    def rekey(self, station: str) -> None:
        """Give a station a new key; the receiver knows both from its next start on."""
        (self.folder / f"{station}.key").unlink()
        public = self.folder / f"{station}.pub"
        public.rename(self.folder / f"{station}.pub.old")
        self._make_key(station)

    def start_receiver(self, *stations: str, reserve: str = "0 B") -> Process:
        """Start the receiver with these stations enrolled; the same port as before, if any."""
        self.enrol(*stations)
        config = self.folder / "receiver.toml"
        text = _RECEIVER.format(port=urlsplit(self.url).port or 0, reserve=reserve)
        for station in self._stations:
            keys = [path.name for path in sorted(self.folder.glob(f"{station}.pub*"))]
            text += f'[[stations]]\nid = "{station}"\npublic_keys = {json.dumps(keys)}\n'
        config.write_text(text)
        receiver = self.start("dockd", "receiver", "--config", str(config), log="receiver")
        self.url = receiver.wait_for("receiver.started")["address"]
        return receiver

    @property
    def receiver_key(self) -> VerifyKey:
        return VerifyKey.load(self.folder / "receiver.pub")

    def stored(self) -> list[Path]:
        """Return the ciphertexts that the receiver has a receipt for."""
        return sorted(
            path
            for path in (self.folder / "store" / "clips").rglob("*.age")
            if path.with_suffix("").with_name(path.name[: -len(".age")] + ".receipt.jws").exists()
        )

    def opened(self) -> list[str]:
        """Return the SHA-256 of each stored clip's plaintext."""
        return sorted(self.open(path) for path in self.stored())

    def open(self, path: Path, *others: X25519Identity) -> str:
        """Return the SHA-256 of a stored clip's plaintext."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for block in open_stream(file, [self.identity, *others]):
                digest.update(block)
        return digest.hexdigest()

    # Cameras

    def camera(self, serial: str) -> Path:
        """Return a camera's folder, creating it."""
        path = self.folder / "cameras" / serial
        path.mkdir(parents=True, exist_ok=True)
        return path

    def fill(self, serial: str, clips: Mapping[str, bytes]) -> list[str]:
        """Put clips onto a camera; returns their digests, sorted."""
        for name, data in clips.items():
            path = self.camera(serial) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return sorted(hashlib.sha256(data).hexdigest() for data in clips.values())

    def on_camera(self, serial: str) -> list[str]:
        """Return the names of the files on a camera."""
        root = self.camera(serial)
        return sorted(
            str(p.relative_to(root)) for p in root.rglob("*") if p.is_symlink() or not p.is_dir()
        )

    # Stations

    def configure(
        self,
        station: str,
        *cameras: str,
        policy: str = "delete",
        receipts: bool = True,
        recipient: str | None = None,
        target: str = "",
        spool: str = "",
        settle: float = 0,
    ) -> Path:
        """Write a station's configuration."""
        if receipts:
            target += f'\nreceipts_url = "{self.url}receipts/"\nreceiver_keys = ["receiver.pub"]'
        text = _STATION.format(
            id=station,
            recipient=recipient or self.identity.recipient,
            url=self.url,
            target=target,
            spool=spool,
            policy=policy,
        )
        for serial in cameras:
            text += _CAMERA.format(path=self.camera(serial), serial=serial, settle=settle)
        path = self.folder / f"{station}.toml"
        path.write_text(text)
        return path

    def start_station(self, config: Path) -> Process:
        """Start ``dockd run``."""
        return self.start("dockd", "run", "--config", str(config), log=config.stem)

    def ledger(self, station: str) -> Ledger:
        """Open a station's ledger, beside the daemon."""
        return Ledger(self.folder / station / "ledger.db", Clock())

    def clips(self, station: str) -> list[Clip]:
        """Return a station's clips, as its ledger has them, if it has one."""
        if not (self.folder / station / "ledger.db").exists():
            return []
        ledger = self.ledger(station)
        try:
            return ledger.queries.clips()
        finally:
            ledger.close()

    def manifest(self, clip: Clip) -> Manifest:
        """Return a clip's manifest."""
        return read_unverified_manifest(str(clip.manifest))

    def assert_acknowledged(self, clip: Clip) -> None:
        """Make sure that a clip has a receipt that holds."""
        verify_receipt(str(clip.receipt), [self.receiver_key], str(clip.manifest))
