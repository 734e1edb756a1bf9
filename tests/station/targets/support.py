"""A clip to upload, a tus server in memory, and a target that talks to it."""

import asyncio
import base64
import hashlib
import itertools
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from dockd.base.incidents import Incidents
from dockd.station.config import TargetConfig
from dockd.station.targets import Sealed
from dockd.station.targets.bandwidth import Limiter
from dockd.station.targets.health import TargetHealth
from dockd.station.targets.http import open_client
from dockd.station.targets.tus import TusTarget
from tests.clocks import FakeClock

MIB = 2**20
ENDPOINT = "http://127.0.0.1:1080/files/"
RECEIPTS = "http://127.0.0.1:1080/receipts/"
MANIFEST = "eyJhbGciOiJFZERTQSJ9.eyJ0eXAiOiJkb2NrZC5tYW5pZmVzdCJ9.c2lnbmF0dXJl"

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
"""What a scripted request is met with."""


def make_sealed(folder: Path, size: int) -> Sealed:
    """Write a ciphertext, as random as a real one and the same every time."""
    data = random.Random(size).randbytes(size)
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / f"{sha256}.age"
    path.write_bytes(data)
    return Sealed(clip_id="c" * 64, manifest=MANIFEST, path=path, size=size, sha256=sha256)


def make_config(**keys: Any) -> TargetConfig:
    """A target's configuration: small chunks, and receipts only where they are asked for."""
    return TargetConfig.model_validate({"url": ENDPOINT, "chunk_size": MIB, **keys})


def problem(status: int, code: str, **members: str) -> httpx.Response:
    return httpx.Response(
        status,
        json={"type": "about:blank", "status": status, "code": code, **members},
        headers={"Content-Type": "application/problem+json"},
    )


@dataclass
class Stored:
    """An upload as the server has it."""

    length: int
    metadata: str
    data: bytearray = field(default_factory=bytearray)


class TusServer:
    """Answers as tus 1.0.0 says, except where a script says otherwise."""

    def __init__(self) -> None:
        self.uploads: dict[str, Stored] = {}
        self.requests: list[httpx.Request] = []
        self.script: dict[str, deque[Answer]] = defaultdict(deque)
        """For each method, what its next requests are met with instead."""
        self.extensions = "creation,checksum"
        self.max_size: int | None = None
        self.resets = 0
        self._names = itertools.count(1)

    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    def asked(self, method: str) -> list[httpx.Request]:
        return [request for request in self.requests if request.method == method]

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.script[request.method]:
            answer = self.script[request.method].popleft()
            if isinstance(answer, Exception):
                raise answer
            return answer(request) if callable(answer) else answer
        return self.answer(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        headers = {"Tus-Resumable": "1.0.0"}
        if request.method == "OPTIONS":
            headers |= {"Tus-Version": "1.0.0", "Tus-Extension": self.extensions}
            if "checksum" in self.extensions:
                headers["Tus-Checksum-Algorithm"] = "sha1,sha256"
            if self.max_size is not None:
                headers["Tus-Max-Size"] = str(self.max_size)
            return httpx.Response(204, headers=headers)
        if request.headers.get("Tus-Resumable") != "1.0.0":
            return httpx.Response(412)
        if request.method == "POST":
            path = f"/files/{next(self._names)}"
            length = int(request.headers["Upload-Length"])
            self.uploads[path] = Stored(length, request.headers["Upload-Metadata"])
            return httpx.Response(201, headers=headers | {"Location": path})
        upload = self.uploads.get(request.url.path)
        if upload is None:
            return httpx.Response(404, headers=headers)
        if request.method == "PATCH":
            return self._append(upload, request, headers)
        headers |= {"Upload-Offset": str(len(upload.data)), "Upload-Length": str(upload.length)}
        return httpx.Response(200, headers=headers)

    def _append(
        self, upload: Stored, request: httpx.Request, headers: dict[str, str]
    ) -> httpx.Response:
        if request.headers["Content-Type"] != "application/offset+octet-stream":
            return httpx.Response(415, headers=headers)
        if int(request.headers["Upload-Offset"]) != len(upload.data):
            return httpx.Response(409, headers=headers)
        if int(request.headers["Content-Length"]) != len(request.content):
            return httpx.Response(400, headers=headers)
        if "Upload-Checksum" in request.headers:
            algorithm, digest = request.headers["Upload-Checksum"].split(" ")
            if hashlib.new(algorithm, request.content).digest() != base64.b64decode(digest):
                return httpx.Response(460, headers=headers)
        upload.data += request.content
        return httpx.Response(204, headers=headers | {"Upload-Offset": str(len(upload.data))})

    def stored_then(self, error: Exception) -> Callable[[httpx.Request], httpx.Response]:
        """Do as asked, but lose the answer."""

        def answer(request: httpx.Request) -> httpx.Response:
            self.answer(request)
            raise error

        return answer


class Station:
    """The caller of a target: the URL that it remembers and the progress that it sees."""

    def __init__(self, server: TusServer, config: TargetConfig | None = None) -> None:
        self.server = server
        self.clock = FakeClock()
        self.rate = 0
        self.url: str | None = None
        self.remembered: list[str] = []
        self.progress: list[int] = []
        self.config = config or make_config()

    def run(self, work: Callable[[TusTarget], Awaitable[None]]) -> None:
        """Do something with a new target, as after a restart of the daemon."""

        async def main() -> None:
            client = open_client(self.config, httpx.MockTransport(self.server.handle))
            health = TargetHealth(self.config.url, self.clock, Incidents(self.clock))
            limiter = Limiter(self.clock, lambda: self.rate)
            target = TusTarget(self.config, client, limiter, self.clock, health)
            try:
                await work(target)
            finally:
                await target.aclose()

        asyncio.run(main())

    def upload(self, sealed: Sealed) -> None:
        """Make one attempt with a new target."""
        self.run(lambda target: self.attempt(target, sealed))

    async def attempt(self, target: TusTarget, sealed: Sealed) -> None:
        await target.upload(sealed, self.url, self._remember, self.progress.append)

    async def _remember(self, url: str) -> None:
        self.url = url
        self.remembered.append(url)
