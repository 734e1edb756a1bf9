"""Method calls over D-Bus, on a connection that lasts as long as they do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from dbus_fast import BusType, DBusError, ErrorType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

_CONNECT_SECONDS = 10.0


class Connection:
    """A connection to a bus."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus

    async def call(
        self,
        destination: str,
        path: str,
        method: str,
        signature: str = "",
        *arguments: object,
        seconds: float,
    ) -> Any:
        """Call a method and return its reply: one value, or a list of several.

        Args:
            destination: the service's name on the bus.
            path: the object's path.
            method: the method with its interface, such as ``org.freedesktop.DBus.Peer.Ping``.
            signature: the arguments' types.
            *arguments: the arguments.
            seconds: how long to wait for the answer.

        Raises:
            DBusError: the service's error; or ``NoReply`` where it didn't answer in time,
                ``Disconnected`` where the connection broke.
        """
        interface, _, member = method.rpartition(".")
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(arguments),
        )
        try:
            async with asyncio.timeout(seconds):
                reply = await self._bus.call(message)
        except TimeoutError as error:
            text = f"{destination} did not answer in {seconds:g} s"
            raise DBusError(ErrorType.NO_REPLY, text) from error
        except (OSError, EOFError) as error:
            raise DBusError(ErrorType.DISCONNECTED, "the connection broke") from error
        if reply.message_type is MessageType.ERROR:
            text = str(reply.body[0]) if reply.body else ""
            raise DBusError(reply.error_name or ErrorType.FAILED, text.strip(), reply)
        return reply.body[0] if len(reply.body) == 1 else reply.body

    async def properties(
        self, destination: str, path: str, interface: str, *, seconds: float
    ) -> dict[str, Any]:
        """Return all properties of an object's interface.

        Raises:
            DBusError: as ``call``.
        """
        method = "org.freedesktop.DBus.Properties.GetAll"
        variants = await self.call(destination, path, method, "s", interface, seconds=seconds)
        return {name: variant.value for name, variant in variants.items()}


@contextlib.asynccontextmanager
async def connected(address: str | None = None) -> AsyncIterator[Connection]:
    """Connect to a bus, by default the system's, and disconnect at the end.

    A connection of its own for each piece of work has no state to repair after the bus or
    a service on it was restarted.

    Raises:
        DBusError: ``NoServer``: there is no bus, or it denies access.
    """
    try:
        bus = MessageBus(address, BusType.SYSTEM)
        async with asyncio.timeout(_CONNECT_SECONDS):
            await bus.connect()
    except (OSError, EOFError, DBusFastError) as error:  # a TimeoutError is an OSError
        raise DBusError(ErrorType.NO_SERVER, f"no connection to the bus: {error}") from error
    try:
        yield Connection(bus)
    finally:
        bus.disconnect()
        # It may have broken before.
        with contextlib.suppress(OSError, EOFError):
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # it has no annotations
