r"""Which plugged-in devices are cameras, which camera each is, and in which bay.

A camera is identified by its profile and a serial. Clip ids are derived from them, so they
must be unique. The profile's ``usb.identity`` defines the serial:

``serial``
    The USB serial number as reported by the device, blanks and case included. A device
    without one is refused, and so are all devices with the same serial while they are docked
    together. Cameras with the same serial that are docked one after the other can't be
    detected: if all cameras of a vendor report ``123456789``, use ``volume``.

``volume``
    ``<USB serial>+<UUID>``: the UUID (on FAT: the volume id) of the device's first file
    system, by LUN and partition, after the USB serial or ``none``. A device without a UUID is
    refused. Formatting the camera or replacing its card makes it another camera. Cameras that
    share the volume id as well can't be told apart.

In a serial, unprintable bytes, ``:``, ``/`` and ``\`` are escaped as ``\xNN``. If the result is
longer than 200 characters, the device is refused.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from dockd.base.errors import CameraRefusedError
from dockd.station.cameras.devices import Device
from dockd.station.config import BayConfig, ProfileConfig, UsbCameraConfig
from dockd.station.model import Camera

_LONGEST_SERIAL = 200
"""The maximum length in a manifest."""
_NO_SERIAL = "none"

Verdict = Camera | CameraRefusedError | None
"""What a device is: a camera, a refused camera, or none."""


def match(device: Device, profiles: Iterable[ProfileConfig]) -> ProfileConfig | None:
    """Return the first profile that matches a device; None if it is no camera."""
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
    """Return the camera that a device is, by its profile's ``usb.identity``.

    Raises:
        CameraRefusedError: it can't be identified, or has no supported file system.
    """
    assert profile.usb is not None
    if not device.volumes:
        raise CameraRefusedError(
            f"{_described(device)} has no supported file system",
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
    """Return what each device that is plugged in now is; no two are the same camera."""
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
    """Return the name of the bay that a device is in, or its port without one."""
    return next((bay.name for bay in bays if fnmatchcase(device.port, bay.port)), device.port)


def _described(device: Device) -> str:
    return f"the device {device.vendor}:{device.product} {device.model}".rstrip()
