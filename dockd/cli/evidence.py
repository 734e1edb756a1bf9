"""dockd decrypt, dockd verify and dockd journal: decrypting and proving, without the daemon."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dockd.base.clock import Clock
from dockd.base.errors import LedgerError, StatementError, UsageError
from dockd.cli.parser import DEFAULT_CONFIG, Commands, add_file
from dockd.cli.verifications import say_verifications
from dockd.evidence.age import Identity, decrypt_file, parse_identities
from dockd.evidence.keys import VerifyKey, read_key_text
from dockd.evidence.verify import Exhibits, prove
from dockd.station import config as configuration
from dockd.station.ledger.ledger import Ledger


def add_to(commands: Commands) -> None:
    """Add the commands."""
    _add_decrypt(commands)
    _add_verify(commands)
    _add_journal(commands)


def _add_decrypt(commands: Commands) -> None:
    parser = commands.add_parser(
        "decrypt",
        help="decrypt a clip",
        description=(
            "Decrypts an age file; after a failure, no unauthenticated data is left behind. Any"
            " other age program works as well."
        ),
        examples={"dockd decrypt -i evidence-unit.txt -o clip.mp4 clip.age": "into a new file"},
        exits={0: "decrypted", 65: "the file is damaged", 77: "no identity matches"},
    )
    add_file(
        parser,
        *("-i", "--identity"),
        required=True,
        action="append",
        metavar="FILE",
        help="a file of identities; may be repeated",
    )
    add_file(parser, "-o", "--output", metavar="OUT", help="a new file; standard output without it")
    add_file(parser, "clip", metavar="CLIP", help="an age file; - is standard input")
    parser.set_defaults(run=_decrypt)


def _add_verify(commands: Commands) -> None:
    parser = commands.add_parser(
        "verify",
        help="prove a clip",
        description=(
            "Proves offline that clip, manifest, receipt and journal belong together, as far as"
            " they are given. Each check is a line."
        ),
        examples={
            "dockd verify --manifest m.jws --station-key station.key.pub --receipt r.jws"
            " --receiver-key receiver.key.pub --clip clip.age": "the ciphertext is what was sealed",
            "dockd verify --manifest m.jws --station-key station.key.pub --journal journal.jsonl"
            " --anchor newest.manifest.jws": "the journal is complete up to that later manifest",
        },
        exits={0: "everything verified", 65: "a check failed; its line says FAILED"},
    )
    several = {"action": "append", "metavar": "FILE", "default": []}
    add_file(
        parser, "--manifest", required=True, metavar="FILE", help="the station's signed manifest"
    )
    add_file(parser, "--station-key", required=True, help="the station's public key", **several)
    add_file(parser, "--receipt", metavar="FILE", help="the receiver's signed receipt")
    add_file(parser, "--receiver-key", help="the receiver's public key", **several)
    add_file(parser, "--clip", metavar="FILE", help="the ciphertext")
    add_file(
        parser, "-i", "--identity", help="decrypts the clip, to check its plaintext", **several
    )
    add_file(parser, "--journal", metavar="FILE", help="from dockd journal")
    add_file(
        parser,
        "--anchor",
        help="another manifest of the same station key; preferably all",
        **several,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_verify)


def _add_journal(commands: Commands) -> None:
    parser = commands.add_parser(
        "journal",
        help="print the journal",
        description=(
            "Prints the station's journal, one entry per line, and checks its hash chain, whether"
            " or not the daemon is running, and without changing the ledger. docs/events.md lists"
            " the kinds of entries."
        ),
        examples={"dockd journal > journal.jsonl": "export it, as evidence for clips"},
        exits={0: "the chain is intact", 65: "it is broken", 74: "there is no ledger"},
    )
    add_file(
        parser,
        "--config",
        default=DEFAULT_CONFIG,
        metavar="FILE",
        help=f"default: {DEFAULT_CONFIG}",
    )
    parser.set_defaults(run=_journal)


def _decrypt(options: argparse.Namespace) -> int:
    source = Path("/dev/stdin") if options.clip == Path("-") else options.clip
    output = sys.stdout.buffer if options.output is None else options.output
    decrypt_file(source, output, _identities(options.identity))
    return 0


def _verify(options: argparse.Namespace) -> int:
    for option, needed in (
        ("receipt", "receiver_key"),
        ("receiver_key", "receipt"),
        ("identity", "clip"),
        ("anchor", "journal"),
    ):
        if getattr(options, option) and not getattr(options, needed):
            names = [f"--{name.replace('_', '-')}" for name in (option, needed)]
            raise UsageError(" needs ".join(names), hint="dockd verify --help")
    exhibits = Exhibits(
        manifest=options.manifest,
        station_keys=[VerifyKey.load(path, "station") for path in options.station_key],
        receipt=options.receipt,
        receiver_keys=[VerifyKey.load(path, "receiver") for path in options.receiver_key],
        clip=options.clip,
        identities=_identities(options.identity),
        journal=options.journal,
        anchors=options.anchor,
    )
    holds = say_verifications(prove(exhibits), as_json=options.json)
    return 0 if holds else StatementError.exit_code


def _journal(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    if not config.ledger_path.exists():
        raise LedgerError(f"{config.ledger_path} does not exist", hint="has this station ever run?")
    ledger = Ledger(config.ledger_path, Clock(), read_only=True)
    try:
        # Bytes, as they were hashed: text would be re-encoded for the terminal.
        for entry in ledger.journal.entries():
            sys.stdout.buffer.write(entry.as_json().encode() + b"\n")
        sys.stdout.buffer.flush()
        ledger.journal.verify()
    finally:
        ledger.close()
    return 0


def _identities(paths: Sequence[Path]) -> list[Identity]:
    return [identity for path in paths for identity in parse_identities(read_key_text(path))]
