"""A station as the receiver sees it, and receivers to talk to."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from dockd.base.clock import Clock
from dockd.evidence.age import CHUNK, TAG, Stanza, ciphertext_size
from dockd.evidence.age.header import serialize_header
from dockd.evidence.keys import SigningKey, write_secret_file
from dockd.evidence.log.note import NoteKey
from dockd.evidence.statements import (
    Content,
    Manifest,
    Receipt,
    sign,
    statement_sha256,
    verify_receipt,
)
from dockd.host.files import Files
from dockd.receiver.app import Receiver, open_receiver
from dockd.receiver.config import Config, load
from tests.forking import Forked
from tests.support import ALICE, make_manifest

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
Headers = Mapping[str, str]
NONE: Headers = {}


@dataclass(frozen=True)
class Clip:
    """A sealed clip in a station's spool."""

    data: bytes
    manifest: Manifest
    token: str

    @property
    def id(self) -> str:
        return self.manifest.clip_id

    @property
    def token_sha256(self) -> str:
        return statement_sha256(self.token)

    @property
    def creation(self) -> dict[str, str]:
        """The headers that create its upload."""
        return {**TUS, "Upload-Length": str(len(self.data)), "Upload-Metadata": self.metadata}

    @property
    def metadata(self) -> str:
        return f"manifest {base64.b64encode(self.token.encode()).decode()}"


@dataclass(frozen=True)
class Station:
    """A station with its key, and a token if it needs one."""

    id: str = "camden-07"
    key: SigningKey = field(default_factory=SigningKey.generate)
    token: str | None = None

    def clip(
        self,
        data: bytes = b"ciphertext",
        *,
        plaintext: str = "plaintext",
        recipients: Sequence[str] = (ALICE,),
    ) -> Clip:
        data, size = sealed(data, len(recipients))
        sha256 = hashlib.sha256(plaintext.encode()).hexdigest()
        manifest = make_manifest(
            self.key,
            station=self.id,
            plaintext=Content(sha256=sha256, size=size),
            ciphertext=Content(sha256=hashlib.sha256(data).hexdigest(), size=len(data)),
            recipients=recipients,
        )
        return Clip(data, manifest, sign(manifest, self.key))


def sealed(data: bytes, recipients: int = 1) -> tuple[bytes, int]:
    """Put an age header before some bytes; returns all, and the plaintext's size.

    What is sealed is nobody's business but its recipients', so any bytes will do.
    """
    stanza = Stanza(("X25519", "x" * 43), bytes(32))
    header = serialize_header([stanza] * recipients, bytes(16))
    data = data.ljust(32, b"\x00")
    chunks = max(-(-(len(data) - 16) // (CHUNK + TAG)), 1)
    size = len(data) - 16 - TAG * chunks
    assert ciphertext_size(size, 0) == len(data), "no age file has this length"
    return header + data, size


@dataclass(frozen=True)
class Site:
    """A receiver's files: its configuration, keys and store."""

    folder: Path
    stations: tuple[Station, ...]
    key: SigningKey

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def config_path(self) -> Path:
        return self.folder / "receiver.toml"

    @property
    def config(self) -> Config:
        return load(self.config_path)

    def stored(self) -> dict[str, bytes]:
        """What lies in the store, by path; the lock, the databases and the log apart."""
        return {
            str(path.relative_to(self.store)): path.read_bytes()
            for path in sorted(self.store.rglob("*"))
            if path.is_file()
            and not path.name.startswith(("lock", "anchors.db", "log.db"))
            and path.relative_to(self.store).parts[0] != "log"
        }

    @property
    def log_key(self) -> NoteKey:
        """What the log's checkpoints are verified with."""
        return NoteKey("evidence-1/log", self.key.verify_key.public.public_bytes_raw())

    def receipt(self, token: str, clip: Clip) -> Receipt:
        """Check a receipt as a station does."""
        return verify_receipt(token, [self.key.verify_key], clip.token)


def make_site(
    folder: Path,
    *stations: Station,
    listen: Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
) -> Site:
    """Write a receiver's configuration and keys."""
    key = SigningKey.generate()
    write_secret_file(folder / "receiver.key", key.pem())
    lines = ["[receiver]", 'id = "evidence-1"', "[listen]"]
    for name, value in {"port": 0, **(listen or {})}.items():
        lines.append(f"{name} = {json.dumps(value)}")
    lines.append("[store]")
    for name, value in {"path": "store", "reserve": 0, **(store or {})}.items():
        lines.append(f"{name} = {json.dumps(value)}")
    for station in stations:
        (folder / f"{station.id}.pub").write_bytes(station.key.verify_key.pem())
        lines += ["[[stations]]", f'id = "{station.id}"', f'public_keys = ["{station.id}.pub"]']
        if station.token is not None:
            digest = hashlib.sha256(station.token.encode()).hexdigest()
            lines.append(f'tokens_sha256 = ["{digest}"]')
    (folder / "receiver.toml").write_text("\n".join(lines) + "\n")
    return Site(folder, stations, key)


@dataclass
class Running:
    """A receiver in this process, and a client of it."""

    receiver: Receiver
    client: httpx.AsyncClient


@contextlib.asynccontextmanager
async def running(
    site: Site, *, files: Files | None = None, clock: Clock | None = None
) -> AsyncIterator[Running]:
    """Run a receiver in this process; an error in it reaches the test."""
    async with open_receiver(site.config, files=files, clock=clock) as receiver:
        transport = httpx.ASGITransport(receiver.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            yield Running(receiver, client)


def with_receiver(
    site: Site,
    scenario: Callable[[httpx.AsyncClient], Awaitable[None]],
    *,
    files: Files | None = None,
    clock: Clock | None = None,
) -> None:
    """Run a scenario against a receiver in this process."""

    async def play() -> None:
        async with running(site, files=files, clock=clock) as run:
            await scenario(run.client)

    asyncio.run(play())


async def create(client: httpx.AsyncClient, clip: Clip, headers: Headers = NONE) -> str:
    """Create an upload and return its path."""
    response = await client.post("/files/", headers={**clip.creation, **headers})
    assert response.status_code == 201, response.text
    return response.url.join(response.headers["Location"]).path


async def patch(
    client: httpx.AsyncClient,
    path: str,
    data: bytes | AsyncIterator[bytes],
    offset: int = 0,
    headers: Headers = NONE,
) -> httpx.Response:
    """Send bytes to an upload."""
    sent = {**PATCH, "Upload-Offset": str(offset), **headers}
    return await client.patch(path, content=data, headers=sent)


async def ask(
    client: httpx.AsyncClient, clip: Clip, *, wait: int = 20, headers: Headers = NONE
) -> httpx.Response:
    """Ask for a receipt."""
    sent = {"Content-Type": "application/jose", "Prefer": f"wait={wait}", **headers}
    return await client.put(f"/receipts/{clip.id}", content=clip.token, headers=sent)


NONCE = "n" * 22


def asking(number: int = 0) -> dict[str, str]:
    """The header of a question that is to be answered, and no other."""
    return {"Dockd-Nonce": f"{NONCE}{number}"}


async def upload(client: httpx.AsyncClient, clip: Clip, headers: Headers = NONE) -> str:
    """Upload a clip whole and return its receipt."""
    path = await create(client, clip, headers)
    response = await patch(client, path, clip.data, 0, headers)
    assert response.status_code == 204, response.text
    response = await ask(client, clip, headers=headers)
    assert response.status_code == 200, response.text
    return response.text


def code(response: httpx.Response) -> str:
    """Return the code of a refusal, checking that it is a well-formed problem."""
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    return str(problem["code"])


async def a_moment() -> None:
    """Let whatever else goes on get further."""
    await asyncio.sleep(0)


class ProcessDiedError(Exception):
    """A receiver's process ended before it took uploads."""


@contextlib.contextmanager
def process(
    site: Site, *command: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Forked, str]]:
    """Run a receiver in a process of its own; yields it and its address."""
    arguments = command or ("dockd", "receiver", "--config")
    child = Forked([*arguments, str(site.config_path)], **(environment or {}))
    with child.stderr:
        try:
            yield child, _address(child)
        finally:
            child.terminate()
            child.stderr.read()
            child.wait(30)


def _address(child: Forked) -> str:
    seen = []
    for line in child.stderr:
        seen.append(line)
        if line.startswith("{") and (event := json.loads(line))["event"] == "receiver.started":
            return str(event["address"])
    raise ProcessDiedError("".join(seen))


class FailingFiles(Files):
    """A disk that gives errors while it is told to."""

    def __init__(self, number: int, operation: str) -> None:
        self.error: OSError | None = OSError(number, os.strerror(number))
        self._operation = operation

    def _fail(self, operation: str) -> None:
        if self.error is not None and operation == self._operation:
            raise self.error

    def create(self, path: Path) -> int:
        self._fail("create")
        return super().create(path)

    def write_at(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        self._fail("write_at")
        return super().write_at(fd, buffers, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._fail("truncate")
        super().truncate(fd, size)

    def publish(self, part: Path, final: Path) -> None:
        self._fail(f"publish {final.suffix}" if final.suffix == ".age" else "publish")
        super().publish(part, final)
        self._fail(f"published {final.suffix}")


class LaterClock(Clock):
    """The machine's clocks, set forward by as many seconds as a test likes."""

    def __init__(self) -> None:
        self.ahead = 0.0
        super().__init__()

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class SlowDisk(Files):
    """A disk whose first fsync of a part waits until it is let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self._free: set[str] = set()

    def let_through(self, upload_id: str) -> None:
        """Have one upload's fsync wait for nothing."""
        self._free.add(upload_id)

    def fsync(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.match("incoming/" + "[0-9a-f]" * 32 + ".part") and path.stem not in self._free:
            self.release.wait()
        super().fsync(fd)


class StuckFiles(Files):
    """A disk that hangs in the first write, until it is let go."""

    def __init__(self) -> None:
        self.writing = threading.Event()
        self.release = threading.Event()

    def write_at(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        self.writing.set()
        self.release.wait()
        return super().write_at(fd, buffers, offset)
