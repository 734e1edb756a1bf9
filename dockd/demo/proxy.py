"""A network that breaks once: passes connections on, and cuts one of them in the middle."""

import asyncio
import contextlib
import re


class BreakingProxy:
    """A TCP proxy on loopback that cuts the first long upload in the middle."""

    def __init__(self, host: str, port: int, *, at_least: int) -> None:
        """Make a proxy.

        Args:
            host: where it passes connections on to.
            port: likewise.
            at_least: how many bytes a PATCH has to bring for its connection to be cut.
        """
        self.cuts = 0
        self._upstream = (host, port)
        self._at_least = at_least
        self._has_chosen = False
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "BreakingProxy":
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            back_reader, back_writer = await asyncio.open_connection(*self._upstream)
            pumps = [
                asyncio.create_task(self._pump(reader, back_writer, counted=True)),
                asyncio.create_task(self._pump(back_reader, writer, counted=False)),
            ]
            # Either side's end is the end of both.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            # What has passed has arrived: a reset could take it back.
            back_writer.close()
            await back_writer.wait_closed()
        writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        left: int | None = None
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if counted and data.startswith(b"PATCH ") and not self._has_chosen:
                    while b"\r\n\r\n" not in data and (more := await reader.read(1 << 16)):
                        data += more
                    left = self._half_of(data)
                if left is not None and len(data) >= left:
                    writer.write(data[:left])
                    await writer.drain()
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()
                if left is not None:
                    left -= len(data)

    def _half_of(self, request: bytes) -> int | None:
        """Return how much of a request gets through, if it is the one that is cut.

        Half of its body, so that something has arrived and something is left to resume with,
        however long it is.
        """
        head = request.partition(b"\r\n\r\n")[0]
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if length is None or int(length[1]) < self._at_least:
            return None
        self._has_chosen = True
        return len(head) + 4 + int(length[1]) // 2
