"""A D-Bus of a test's own, and services on it that fail as they are told."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import DBusError, Message, MessageType
from dbus_fast.aio import MessageBus

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"""


SILENCE = object()
"""Instead of an answer: none at all."""


class Bus:
    """A dbus-daemon that can be stopped and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "bus"
        self._config = folder / "bus.conf"
        self._config.write_text(_CONFIG.format(socket=self._socket))
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix:path={self._socket}"

    def start(self) -> None:
        command = ["dbus-daemon", f"--config-file={self._config}", "--nofork", "--print-address"]
        self._daemon = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._daemon.stdout is not None
        assert self._daemon.stdout.readline()  # it listens

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.communicate()
            self._daemon = None
        self._socket.unlink(missing_ok=True)

    def vanish(self) -> object:
        """A service's fault: the bus stops before the answer."""
        self.stop()
        return SILENCE


@contextlib.contextmanager
def private_bus(folder: Path) -> Iterator[Bus]:
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed")
    bus = Bus(folder)
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()


Answer = tuple[str, Callable[..., Any]]
"""The type of what a method answers, and what makes it of the object's path and arguments."""


class Service:
    """Owns a name, notes what it is asked, and answers, or fails."""

    def __init__(self, name: str, answers: dict[str, Answer]) -> None:
        self.name = name
        self._answers = answers
        self.asked: list[tuple[str, str, list[Any]]] = []
        self.faults: dict[str, list[Any]] = {}
        """By method, what happens first, one for each call: an error, or something that is
        called, and may give ``SILENCE``, or a future that the answer waits for.
        """

    @contextlib.asynccontextmanager
    async def on(self, bus: Bus) -> AsyncIterator[None]:
        connection = await MessageBus(bus.address).connect()

        def handle(message: Message) -> Message | bool | None:
            if message.message_type is not MessageType.METHOD_CALL or message.path is None:
                return None
            self.asked.append((message.path, str(message.member), message.body))
            faults = self.faults.get(str(message.member))
            fault = faults.pop(0) if faults else None
            if isinstance(fault, DBusError):
                raise fault  # the library answers with it
            first = fault() if callable(fault) else fault
            if isinstance(first, asyncio.Future):
                first.add_done_callback(lambda _: connection.send(self._answer(message)))
                return True
            return True if first is SILENCE else self._answer(message)

        connection.add_message_handler(handle)
        await connection.request_name(self.name)
        try:
            yield
        finally:
            connection.disconnect()
            with contextlib.suppress(OSError, EOFError):
                await connection.wait_for_disconnect()  # type: ignore[no-untyped-call]  # it has no annotations

    def calls(self, method: str) -> list[list[Any]]:
        return [arguments for _, asked, arguments in self.asked if asked == method]

    def _answer(self, message: Message) -> Message:
        signature, answer = self._answers[str(message.member)]
        answered = answer(message.path, *message.body)
        return Message.new_method_return(message, signature, [answered] if signature else [])
