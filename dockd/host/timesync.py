"""Whether the station's clock is synchronised."""

from dbus_fast import DBusError

from dockd.host.dbus import connected

_SERVICE = "org.freedesktop.timedate1"
_PATH = "/org/freedesktop/timedate1"
_SECONDS = 5.0


async def is_synchronised(bus_address: str | None = None) -> bool | None:
    """Ask systemd whether a time service keeps the clock synchronised; None if unknown.

    ``NTPSynchronized`` of org.freedesktop.timedate1 is the kernel's own flag (adjtimex(2)),
    so it is the same for chrony, ntpd, systemd-timesyncd and any other.

    Args:
        bus_address: the bus to ask on instead of the system's.
    """
    try:
        async with connected(bus_address) as bus:
            properties = await bus.properties(_SERVICE, _PATH, _SERVICE, seconds=_SECONDS)
    except DBusError:
        return None
    answer = properties.get("NTPSynchronized")
    return answer if isinstance(answer, bool) else None
