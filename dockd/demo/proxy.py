"""A network that breaks once: passes connections on, and cuts one of them in the middle."""

import asyncio
import contextlib


class BreakingProxy:
    """A TCP proxy on loopback that cuts the first upload that has got far enough."""

    def __init__(self, host: str, port: int, *, cut_after: int) -> None:
        """Make a proxy.

        Args:
            host: where it passes connections on to.
            port: likewise.
            cut_after: bytes of one PATCH that get through before its connection is cut.
        """
        self.cuts = 0
        self._upstream = (host, port)
        self._cut_after = cut_after
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
            back_writer.transport.abort()
        writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        passed: int | None = None
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
                if data.startswith(b"PATCH "):
                    passed = 0
                if counted and passed is not None and not self.cuts:
                    passed += len(data)
                    if passed > self._cut_after:
                        self.cuts += 1
                        return
