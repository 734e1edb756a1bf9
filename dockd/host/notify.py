"""Notifications to systemd: ready, status, stopping, and the watchdog.

The protocol is that of sd_notify(3), the watchdog that of sd_watchdog_enabled(3).
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping

from dockd.base import events
from dockd.base.clock import Clock

STATUS_SECONDS = 5.0
"""How often the status is sent, and the watchdog fed unless it needs that sooner."""
_UNWATCHED_SECONDS = 60.0
"""After how long work counts as stuck without a watchdog."""


class Notifier:
    """Messages to the service manager; without one, nothing happens."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of an abstract address, unix(7).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environment) if address else None
        """The watchdog's time limit; None without a watchdog."""

    @property
    def listening(self) -> bool:
        """Whether there is a service manager."""
        return bool(self._address)

    def ready(self) -> None:
        """Signal that the start, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Signal that the configuration is being reloaded; ``ready`` ends that."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Signal that the shutdown has begun."""
        self._send("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """Request more seconds from now, for a start or a shutdown that progresses but is slow."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def status(self, text: str) -> None:
        """Set the one-line status; line breaks are removed."""
        self._send(f"STATUS={' '.join(text.split())}")

    def feed_watchdog(self) -> None:
        """Reset the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        # A service manager that is gone or restarts must not stop the work; if it misses a
        # message, its own time limits apply.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(1)
            sender.sendto("\n".join(assignments).encode(), self._address)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    microseconds = environment.get("WATCHDOG_USEC", "")
    meant_for = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdecimal() or int(microseconds) == 0 or meant_for != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000


class Heartbeats:
    """The parts that must make progress, and when each last did."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._within: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def part(self, name: str, within: float) -> Callable[[], None]:
        """Add a part; it must call the result at least every ``within`` seconds."""

        def beat() -> None:
            self._last[name] = self._clock.monotonic()

        self._within[name] = within
        beat()
        return beat

    def overdue(self) -> list[str]:
        """Return the parts without progress for too long."""
        now = self._clock.monotonic()
        return [name for name, last in self._last.items() if now - last > self._within[name]]


async def feed(
    notifier: Notifier,
    heartbeats: Heartbeats,
    probe: Callable[[], Awaitable[None]],
    status: Callable[[], str],
    clock: Clock,
) -> None:
    """Send the status, and feed the watchdog while work progresses; runs until cancelled.

    The watchdog is fed only if the probe, a small piece of real work, has succeeded and no part
    is overdue. Otherwise that is logged once, and systemd's time limit expires.

    Raises:
        Whatever the probe raises.
    """
    if not notifier.listening:
        return
    limit = notifier.watchdog_seconds or _UNWATCHED_SECONDS
    starved = False
    while True:
        await _answered(probe, limit / 2, clock)
        notifier.status(status())
        overdue = heartbeats.overdue()
        if not overdue:
            notifier.feed_watchdog()
        elif not starved:
            events.watchdog_starved(parts=overdue)
        starved = bool(overdue)
        await clock.sleep(min(STATUS_SECONDS, limit / 4))


async def _answered(probe: Callable[[], Awaitable[None]], patience: float, clock: Clock) -> None:
    """Wait for the probe without limit; log once if it takes longer than ``patience``."""
    probing = asyncio.ensure_future(probe())
    over = asyncio.Event()
    probing.add_done_callback(lambda _: over.set())
    try:
        if not await clock.wait(over, patience):
            events.watchdog_starved(parts=["probe"])
        await probing
    finally:
        probing.cancel()
