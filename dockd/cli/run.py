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
            "Runs the station's daemon until SIGTERM; SIGHUP reads the configuration again. It"
            " stays in the foreground and logs to standard error. On a station, systemd does"
            " this: systemctl start dockd."
        ),
        examples={"dockd run --config station.toml": "with a configuration of one's own"},
        exits=SERVICE_EXITS,
    )
    add_file(
        parser, "--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"not {DEFAULT_CONFIG}"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return daemon.main(options.config)
