"""dockd receiver: the server that stations upload to."""

import argparse

from dockd.cli.findings import show
from dockd.cli.parser import DEFAULT_RECEIVER_CONFIG, SERVICE_EXITS, Commands, add_file
from dockd.receiver import server
from dockd.receiver.check import check


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "receiver",
        help="run the receiver",
        description=(
            "Runs the receiver until SIGTERM: the tus server that stores ciphertext and signs"
            " receipts for it. It runs in the foreground and logs to standard error."
        ),
        examples={
            "dockd receiver --config receiver.toml": "with another configuration",
            "dockd receiver --check": "check the setup before starting it",
        },
        exits={
            0: "stopped as requested; with --check, all is well",
            10: "with --check: there are warnings",
            20: "with --check: there are errors",
            **{code: meaning for code, meaning in SERVICE_EXITS.items() if code},
        },
    )
    add_file(
        parser,
        "--config",
        default=DEFAULT_RECEIVER_CONFIG,
        metavar="FILE",
        help=f"default: {DEFAULT_RECEIVER_CONFIG}",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check configuration, keys, address and store, change nothing, and exit",
    )
    parser.add_argument("--json", action="store_true", help="with --check, one JSON object")
    parser.set_defaults(run=_receiver)


def _receiver(options: argparse.Namespace) -> int:
    if options.check:
        return show(check(options.config), as_json=options.json)
    return server.run(options.config)
