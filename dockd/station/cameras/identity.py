r"""Which plugged-in devices are cameras, which camera each is, and in which bay.

A camera is known by its profile and a serial, and its clips' ids are made of them, so two
cameras must never bear one. How the serial is made is the profile's ``usb.identity``:

``serial``
    The USB serial number as the device says it, blanks and case included. A device without
    one is refused, and so are all that bear one serial while they are docked together. That
    cameras which are docked one after the other share a serial can't be seen: where a
    maker's cameras all say ``123456789``, use ``volume``.

``volume``
    ``<USB serial>+<UUID>``: the UUID (on FAT: the volume id) of the device's first file
    system, by LUN and partition, behind the USB serial or ``none``. A device without a UUID
    is refused. Formatting the camera, or another card in it, makes another camera of it. A
    maker whose cameras share the volume id as well leaves nothing to tell them by.

In a serial, bytes that can't be printed, ``:``, ``/`` and ``\`` stand as ``\xNN``. One that
gets longer than 200 characters so is refused.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from dockd.base.errors import CameraRefusedError
from dockd.station.cameras.devices import Device
from dockd.station.config import BayConfig, ProfileConfig, UsbCameraConfig
from dockd.station.model import Camera

_LONGEST_SERIAL = 200
"""What a manifest has room for."""
_NO_SERIAL = "none"

Verdict = Camera | CameraRefusedError | None
"""What a device is: a camera, one that is not taken, or a stranger."""


def match(device: Device, profiles: Iterable[ProfileConfig]) -> ProfileConfig | None:
    """Return the first profile that a device is a camera of; None for a stranger."""
    return next((one for one in profiles if one.usb and _fits(device, one.usb)), None)


def _fits(device: Device, usb: UsbCameraConfig) -> bool:
    texts = (
        (device.vendor, usb.vendor),
        (device.product, usb.product),
        (device.serial, usb.serial),
        (device.model, usb.model),
    )
    return (
        all(fnmatchcase(text, pattern) for text, pattern in texts)
        and (usb.label == "*" or any(fnmatchcase(label, usb.label) for label in device.labels))
        and (not usb.serials or device.serial in usb.serials)
    )


def camera_of(device: Device, profile: ProfileConfig) -> Camera:
    """Return the camera that a device is, by its profile's way of telling cameras apart.

    Raises:
        CameraRefusedError: it can't be told from others, or has nothing to read.
    """
    assert profile.usb is not None
    if not device.volumes:
        raise CameraRefusedError(
            f"{_described(device)} has no file system that dockd reads",
            hint="switch the camera to its USB storage mode; format it if it is damaged",
        )
    if profile.usb.identity == "serial":
        serial = device.serial
        if not serial:
            raise CameraRefusedError(
                f"{_described(device)} has no serial number",
                hint='usb.identity = "volume" in its profile tells such cameras apart',
            )
    else:
        first = device.volumes[0]
        if not first.uuid:
            raise CameraRefusedError(
                f"the file system {first.node} of {_described(device)} has no UUID",
                hint="format the camera once its clips are safe",
            )
        serial = f"{device.serial or _NO_SERIAL}+{first.uuid}"
    serial = serial.replace(":", r"\x3a").replace("/", r"\x2f")
    if len(serial) > _LONGEST_SERIAL:
        raise CameraRefusedError(
            f"{_described(device)} has a serial number of {len(serial)} characters",
            hint="check whether it is a camera",
        )
    return Camera(profile.name, serial)


def recognise(
    devices: Sequence[Device], profiles: Sequence[ProfileConfig]
) -> dict[Device, Verdict]:
    """Say of each device that is plugged in now what it is; no two are one camera."""
    verdicts = {device: _verdict(device, profiles) for device in devices}
    bearers = Counter(verdict for verdict in verdicts.values() if isinstance(verdict, Camera))
    for device, verdict in verdicts.items():
        if isinstance(verdict, Camera) and bearers[verdict] > 1:
            verdicts[device] = CameraRefusedError(
                f"{bearers[verdict]} devices identify themselves as {verdict.id}",
                hint='leave one of them docked, or set usb.identity = "volume" in their profile',
            )
    return verdicts


def _verdict(device: Device, profiles: Sequence[ProfileConfig]) -> Verdict:
    profile = match(device, profiles)
    if profile is None:
        return None
    try:
        return camera_of(device, profile)
    except CameraRefusedError as refusal:
        return refusal


def place_of(device: Device, bays: Iterable[BayConfig]) -> str:
    """Return the name of the bay that a device is in, or its port where that has none."""
    return next((bay.name for bay in bays if fnmatchcase(device.port, bay.port)), device.port)


def _described(device: Device) -> str:
    return f"the device {device.vendor}:{device.product} {device.model}".rstrip()
