"""A D-Bus of a test's own, and services on it that fail as they are told."""

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


SILENCE = object()
"""Instead of an answer: none at all."""

Answer = tuple[str, Callable[..., Any]]
"""The type of what a method answers, and what makes it of the object's path and arguments."""


class Service:
    """Owns a name, notes what it is asked, and answers, or fails."""

    def __init__(self, name: str, answers: dict[str, Answer]) -> None:
        self.name = name
        self._answers = answers
        self.asked: list[tuple[str, str, list[Any]]] = []
        self.faults: dict[str, list[Any]] = {}
        """By method, what happens instead of an answer, one for each call."""

    @contextlib.asynccontextmanager
    async def on(self, bus: Bus) -> AsyncIterator[None]:
        connection = await MessageBus(bus.address).connect()
        connection.add_message_handler(self._handle)
        await connection.request_name(self.name)
        try:
            yield
        finally:
            connection.disconnect()
            with contextlib.suppress(OSError, EOFError):
                await connection.wait_for_disconnect()  # type: ignore[no-untyped-call]  # as in dbus.py

    def calls(self, method: str) -> list[list[Any]]:
        return [arguments for _, asked, arguments in self.asked if asked == method]

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.path is None:
            return None
        method = str(message.member)
        self.asked.append((message.path, method, message.body))
        faults = self.faults.get(method)
        fault = faults.pop(0) if faults else None
        try:
            if fault is SILENCE:
                return True
            if isinstance(fault, DBusError):
                raise fault
            if fault is not None:
                fault()
            signature, answer = self._answers[method]
            answered = answer(message.path, *message.body)
        except DBusError as error:
            return Message.new_error(message, error.type, error.text)
        body = [answered] if signature else []
        return Message.new_method_return(message, signature, body)
