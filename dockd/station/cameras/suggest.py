"""Suggests a profile and a bay for each plugged-in USB storage device, as TOML."""

import glob
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from dockd.station.cameras.devices import Device

_RULES = """\
rules = [
    { pattern = "**/.*", kind = "ignore" },
    { pattern = "**/*.mp4", kind = "video" },
    { pattern = "**/*.mov", kind = "video" },
    { pattern = "**/*.avi", kind = "video" },
]
"""


def suggest(devices: Iterable[Device]) -> str:
    """Return configuration tables that accept these devices as cameras.

    The operator decides which of the devices are cameras.
    """
    by_kind = sorted(devices, key=_kind)
    if not by_kind:
        return "# No USB storage device is plugged in.\n"
    groups = [list(group) for _, group in groupby(by_kind, key=_kind)]
    slugs = [_slug(group[0]) for group in groups]
    if len(set(slugs)) < len(slugs):
        slugs = [f"{slug}-{number}" for number, slug in enumerate(slugs, start=1)]
    profiles = [_profile(*named) for named in zip(slugs, groups, strict=True)]
    ports = sorted({device.port for device in by_kind})
    bays = [_bay(number, port) for number, port in enumerate(ports, start=1)]
    return "\n".join(profiles + bays)


def _kind(device: Device) -> tuple[str, str, str]:
    return device.vendor, device.product, device.model


def _slug(device: Device) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", device.model.lower()).strip("-")[:40]
    return words or f"usb-{device.vendor}-{device.product}"


def _profile(name: str, devices: Sequence[Device]) -> str:
    first = devices[0]
    serials = Counter(device.serial for device in devices)
    usb = [
        f"vendor = {_text(first.vendor)}",
        f"product = {_text(first.product)}",
        # The device's own text is no pattern.
        f"model = {_text(glob.escape(first.model))}",
    ]
    labels = sorted({label for device in devices for label in device.labels})
    usb += [f"# label = {_text(glob.escape(label))}" for label in labels]
    known = sorted(serials.keys() - {""})
    usb += [f"# serials = [{', '.join(map(_text, known))}]"] if known else []
    if "" in serials or max(serials.values()) > 1:
        usb.append('identity = "volume"  # their serial numbers do not tell them apart')
    return f"[[profiles]]\nname = {_text(name)}\n{_RULES}\n[profiles.usb]\n" + "\n".join(usb) + "\n"


def _bay(number: int, port: str) -> str:
    return f"[[bays]]\nname = {_text(str(number))}\nport = {_text(glob.escape(port))}\n"


def _text(text: str) -> str:
    """Return a TOML basic string: as in JSON, except for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
