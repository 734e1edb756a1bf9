"""dockd profile: help to configure a camera."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dockd.base.errors import SourceError, UsageError
from dockd.base.sizes import shown_size
from dockd.cli import text
from dockd.cli.parser import DEFAULT_CONFIG, Commands, add_file
from dockd.station import config as configuration
from dockd.station.cameras.fitting import fits
from dockd.station.cameras.leftovers import weigh
from dockd.station.cameras.profile import Fit, Profile
from dockd.station.cameras.suggest import suggest
from dockd.station.cameras.tree import Failures
from dockd.station.cameras.udev import SystemUdev
from dockd.station.config import Config, ProfileConfig
from dockd.station.model import display_path

_LEFT = "LEFT"


def add_to(commands: Commands) -> None:
    """Add the command and those below it."""
    profile = commands.add_parser(
        "profile",
        help="help to write camera profiles",
        description="Helps to write the profiles that define which devices are cameras.",
        examples={},
        exits={},
    )
    below = profile.add_commands()
    parser = below.add_parser(
        "suggest",
        help="print a profile for what is plugged in",
        description=(
            "Prints, as TOML for /etc/dockd/config.toml, a profile for each model of USB storage"
            " device that is plugged in now, and a bay for each occupied port. Every device is"
            " listed, including memory sticks: keep the cameras, and review the rules, which"
            " define which files are clips.\n\n"
            "It queries udev, opens no device, and needs neither the daemon nor privileges."
        ),
        examples={"dockd profile suggest": "plug a camera in, and print its profile"},
        exits={0: "printed", 66: "the devices can't be listed"},
    )
    parser.set_defaults(run=_suggest)
    parser = below.add_parser(
        "test",
        help="show how a profile classifies the files in a folder",
        description=(
            "Lists each file in a folder and its subfolders, such as a camera's root or a copy of"
            " it: whether it is a clip (video or sidecar), ignored or left alone (LEFT), by which"
            " rule of the profile, and what its name says. A camera with files that are left alone"
            " is not safe to take if they may be recordings.\n\n"
            "It reads the configuration and the folder, and changes nothing."
        ),
        examples={
            "dockd profile test /media/camera": "with the only profile",
            "dockd profile test --profile bodycam /media/camera | grep ^LEFT": (
                "what the profile bodycam does not match"
            ),
        },
        exits={
            0: "a rule matches every file",
            10: "files are left alone, and none of them looks like a recording",
            20: "files that may be recordings are left alone, or some can't be read",
            64: "--profile is needed, or names no profile",
            66: "the folder can't be read",
            78: "invalid configuration",
        },
    )
    add_file(parser, "folder", metavar="DIR", help="the folder to treat as a camera's root")
    parser.add_argument("--profile", metavar="NAME", help="the profile, if there are several")
    add_file(
        parser,
        "--config",
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help="the station's configuration; default: %(default)s",
    )
    parser.set_defaults(run=_test)


def _suggest(_options: argparse.Namespace) -> int:
    sys.stdout.write(suggest(SystemUdev().devices()))
    return 0


def _test(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    config = configuration.load(options.config)
    profile = _chosen(config, options.profile, folder)
    failures: Failures = {}
    left: dict[bytes, int] = {}
    kinds: Counter[str] = Counter()
    try:
        for path, size, fit in fits(folder, Profile(profile), failures):
            print(_line(path, size, fit))
            kinds[fit.config.kind if fit else _LEFT] += 1
            left |= {path: size} if fit is None else {}
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}") from error
    for path, problem in failures.items():
        print(f"{'FAILS':8} {'':8} {display_path(path)}: {problem.strerror}")
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no files"
    print(f"{text.printable(profile.name)}: {counted}")
    if failures or weigh(left).suspect:
        return 20
    return 10 if left else 0


def _chosen(config: Config, name: str | None, folder: Path) -> ProfileConfig:
    """Return the named profile, else that of a configured folder, else the only one."""
    known = {profile.name: profile for profile in config.profiles}
    if name is None:
        of_folders = {
            one.profile for one in config.folders if one.path.absolute() == folder.absolute()
        }
        names: Sequence[str] = list(of_folders or known)
        name = names[0] if len(names) == 1 else None
    if name not in known:
        raise UsageError(
            "--profile must name one of the profiles", hint=f"available: {', '.join(known)}"
        )
    return known[name]


def _line(path: bytes, size: int, fit: Fit | None) -> str:
    kind, rule = (fit.config.kind, f"rule {fit.number}") if fit else (_LEFT, "no rule")
    cells = [f"{kind:8} {rule:8} {display_path(path)} ({shown_size(size)})"]
    if fit is None or fit.match is None:
        return cells[0]
    match = fit.match
    cells += ["event"] if match.event else []
    cells += [f"{name}={value}" for name, value in match.metadata.items()]
    if match.recorded_at is not None:
        cells.append(f"recorded {_local(match.recorded_at)}")
    elif fit.config.time_format and "time" in match.metadata:
        cells.append(f"its time does not match {fit.config.time_format}")
    return "  ".join(cells)


def _local(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S %z}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"  # a year that no calendar here has
