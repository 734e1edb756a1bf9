"""dockd run: the station's daemon."""

import argparse

from dockd.cli.parser import DEFAULT_CONFIG, SERVICE_EXITS, Commands, add_file
from dockd.station import daemon


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="run the station's daemon",
        description=(
            "Runs the station's daemon until SIGTERM; SIGHUP reloads the configuration. It runs"
            " in the foreground and logs to standard error. On a station, systemd does this:"
            " systemctl start dockd."
        ),
        examples={"dockd run --config station.toml": "with another configuration"},
        exits=SERVICE_EXITS,
    )
    add_file(
        parser,
        "--config",
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"default: {DEFAULT_CONFIG}",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return daemon.main(options.config)
