"""dockd run, dockd receiver and dockd demo: what keeps running, and a show of both."""

import argparse

from dockd import daemon, demo
from dockd.commands.check import show
from dockd.commands.parser import DEFAULT_CONFIG, DEFAULT_RECEIVER_CONFIG, Commands, add_file
from dockd.receiver import server
from dockd.receiver.check import check

_EXITS = {
    0: "it was told to stop",
    70: "a mistake in dockd: please report what it printed",
    74: "a disk, the ledger, the spool or the store can't be used",
    75: "not now: another one is running, or the address is taken",
    78: "the configuration has mistakes, or a key can't be used; a restart mends nothing",
}


def add_to(commands: Commands) -> None:
    """Add the commands."""
    run = commands.add_parser(
        "run",
        help="run the station's daemon",
        description=(
            "Runs the station's daemon until SIGTERM; SIGHUP reads the configuration again. It"
            " stays in the foreground and logs to standard error. On a station, systemd does"
            " this: systemctl start dockd."
        ),
        examples={"dockd run --config station.toml": "with a configuration of one's own"},
        exits=_EXITS,
    )
    add_file(run, "--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"not {DEFAULT_CONFIG}")
    run.set_defaults(run=_run)

    receiver = commands.add_parser(
        "receiver",
        help="run the receiver",
        description=(
            "Runs the receiver until SIGTERM: the tus server that keeps ciphertext and signs"
            " receipts for it. It stays in the foreground and logs to standard error."
        ),
        examples={
            "dockd receiver --config receiver.toml": "with a configuration of one's own",
            "dockd receiver --check": "look it over before it is started",
        },
        exits={
            0: "it was told to stop; with --check, all is well",
            10: "with --check: there are warnings",
            20: "with --check: there are errors",
            **{code: meaning for code, meaning in _EXITS.items() if code},
        },
    )
    add_file(
        receiver,
        "--config",
        default=DEFAULT_RECEIVER_CONFIG,
        metavar="FILE",
        help=f"not {DEFAULT_RECEIVER_CONFIG}",
    )
    receiver.add_argument(
        "--check",
        action="store_true",
        help="look over configuration, keys, address and store instead, and change nothing",
    )
    receiver.add_argument("--json", action="store_true", help="with --check, one JSON object")
    receiver.set_defaults(run=_receiver)

    show = commands.add_parser(
        "demo",
        help="see the whole job on this machine",
        description=(
            "Docks two cameras, cuts a connection, wipes, and proves a clip, with throw-away"
            " keys, in a temporary folder."
        ),
        examples={"dockd demo --from ~/Videos": "with copies of clips of one's own"},
        exits={0: "everything held", 1: "not everything held"},
    )
    add_file(show, "--from", dest="source", metavar="DIR", help="copy these files as clips")
    show.add_argument("--json", action="store_true", help="one JSON object")
    show.set_defaults(run=_demo)


def _run(options: argparse.Namespace) -> int:
    return daemon.run(options.config)


def _receiver(options: argparse.Namespace) -> int:
    if options.check:
        return show(check(options.config), as_json=options.json)
    return server.run(options.config)


def _demo(options: argparse.Namespace) -> int:
    return demo.run(options.source, as_json=options.json)
