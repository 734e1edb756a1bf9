"""A station that the doctor looks over: its files, and how it is configured."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from dockd.base.findings import Finding, Findings, Level
from dockd.evidence.age import X25519Identity
from dockd.evidence.keys import SigningKey, write_secret_file
from dockd.station import config as configuration
from dockd.station.check.subject import Machine, Subject
from dockd.station.config import Config
from tests.bus import Bus, Service
from tests.usb import FakeUdev

_CONFIG = """\
[station]
id = "camden-07"
key_file = "station.key"
state = "state"
earlier_keys = {earlier}

[control]
socket = "control.sock"
listen = ""

[encryption]
recipients = [{recipients}]

[spool]
reserve = {reserve}
{spool}

[target]
url = "{url}files/"
receipts_url = "{url}receipts/"
receiver_keys = ["receiver.pub"]
{target}

[[profiles]]
name = "bodycam"
rules = [{{ pattern = "**/*.mp4", kind = "video" }}]
{usb}
"""
USB = '[profiles.usb]\nvendor = "1234"'


@dataclass
class Patient:
    """A station whose parts a test spoils."""

    folder: Path
    url: str = "http://127.0.0.1:1/"
    recipients: int = 2
    target: str = ""
    spool: str = 'budget = "1 MiB"'
    reserve: int = 0
    usb: str = USB
    earlier: list[str] = field(default_factory=list)
    uid: int = field(default_factory=os.geteuid)
    key: SigningKey = field(default_factory=SigningKey.generate)
    receiver_key: SigningKey = field(default_factory=SigningKey.generate)

    def __post_init__(self) -> None:
        (self.folder / "state").mkdir()
        self.write_key("station.key", self.key)
        self.write_key("receiver.key", self.receiver_key)
        (self.folder / "receiver.pub").write_bytes(self.receiver_key.verify_key.pem())
        (self.folder / "camden-07.pub").write_bytes(self.key.verify_key.pem())
        self.machine = Machine(udev=FakeUdev(self.folder / "sys"), root=self.folder / "root")

    def let_others_in(self) -> None:
        """Let other users get at its folder, which pytest keeps to itself."""
        outside = Path(tempfile.gettempdir())
        for folder in takewhile(outside.__ne__, (self.folder, *self.folder.parents)):
            folder.chmod(0o755)

    def write_key(self, name: str, key: SigningKey) -> Path:
        path = self.folder / name
        write_secret_file(path, key.pem())
        return path

    def write_config(self) -> Path:
        recipients = [f'"{X25519Identity.generate().recipient}"' for _ in range(self.recipients)]
        path = self.folder / "config.toml"
        path.write_text(
            _CONFIG.format(
                recipients=", ".join(recipients),
                spool=self.spool,
                reserve=self.reserve,
                url=self.url,
                target=self.target,
                usb=self.usb,
                earlier=self.earlier,
            )
        )
        return path

    @property
    def config(self) -> Config:
        return configuration.load(self.write_config())

    def findings(self, check: Callable[[Subject], Findings]) -> list[Finding]:
        return list(check(Subject(self.config, self.machine, self.uid)))


def worst(findings: Iterable[Finding]) -> Finding:
    """The worst finding, which has a remedy unless all is well."""
    found = max(findings, key=lambda finding: finding.level)
    assert bool(found.remedy) == (found.level is not Level.OK)
    return found


def healthy(findings: Iterable[Finding]) -> bool:
    return worst(findings).level is Level.OK


@contextmanager
def served(service: Service, bus: Bus) -> Iterator[None]:
    """A service on a thread of its own, as the doctor's checks have event loops of theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack = AsyncExitStack()
    try:
        asyncio.run_coroutine_threadsafe(stack.enter_async_context(service.on(bus)), loop).result(
            20
        )
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
