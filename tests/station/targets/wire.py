"""A tus server on a real socket, which breaks connections as it is told."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from tests.station.targets.support import TusServer


@dataclass
class WireServer:
    """Speaks enough HTTP/1.1 for dockd, over TCP or TLS."""

    tus: TusServer = field(default_factory=TusServer)
    cut_after: deque[int] = field(default_factory=deque)
    """Each of the next PATCHes keeps so many bytes, then its connection is reset."""
    lose_answers: int = 0
    """So many of the next PATCHes are stored, and their connections closed unanswered."""
    silent: set[str] = field(default_factory=set)
    """Methods that are never answered."""
    refusal: bytes = b""
    """What PATCHes are answered before their body is read."""
    peer_certificates: list[object] = field(default_factory=list)
    port: int = 0

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Serve until the context ends; yields the address of the tus endpoint."""
        stopped = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(task := asyncio.ensure_future(self._serve(reader, writer, stopped)))
            try:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await task
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(handle, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"{'https' if tls else 'http'}://localhost:{self.port}/files/"
        finally:
            stopped.set()
            server.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stopped: asyncio.Event
    ) -> None:
        self.peer_certificates.append(writer.get_extra_info("peercert"))
        while head := await _read_head(reader):
            line, *fields = head.strip().split(b"\r\n")
            method, target, _ = line.decode().split(" ")
            parts = [field.partition(b": ") for field in fields]
            headers = httpx.Headers([(name, value) for name, _, value in parts])
            if method in self.silent:
                await stopped.wait()
                return
            if method == "PATCH" and self.refusal:
                writer.write(self.refusal)
                while await reader.read(65536):  # as proxies do, lest a reset eats the answer
                    pass
                return
            length = int(headers.get("Content-Length", "0"))
            if method == "PATCH" and self.cut_after:
                kept = await reader.readexactly(self.cut_after.popleft())
                self.tus.uploads[target].data += kept
                return
            body = await reader.readexactly(length)
            url = f"http://localhost:{self.port}{target}"
            request = httpx.Request(method, url, headers=headers, content=body)
            response = await self.tus.handle(request)
            if method == "PATCH" and self.lose_answers:
                self.lose_answers -= 1
                return
            writer.write(_encode(response, with_body=method != "HEAD"))
            await writer.drain()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _encode(response: httpx.Response, *, with_body: bool) -> bytes:
    body = response.content if with_body else b""
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}".encode()]
    lines += [f"{name}: {value}".encode() for name, value in response.headers.multi_items()]
    if response.status_code != 204 and "Content-Length" not in response.headers:
        lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
