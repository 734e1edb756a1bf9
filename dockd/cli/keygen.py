"""dockd keygen: generate keys."""

import argparse
from pathlib import Path

from dockd.base.errors import KeyFileError, UsageError
from dockd.cli.parser import Commands, add_file
from dockd.evidence.age import HybridIdentity, X25519Identity
from dockd.evidence.keys import SigningKey, write_public_file, write_secret_file


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "keygen",
        help="generate keys",
        description=(
            "Generates a key: a private file with mode 0600, and its public key next to it"
            " (.pub). Prints the key's id, or the age recipient of an identity. No file is ever"
            " overwritten."
        ),
        examples={
            "dockd keygen station -o station.key": "the key with which a station signs manifests",
            "dockd keygen receiver -o receiver.key": "the key with which a receiver signs receipts",
            "dockd keygen identity -o evidence-unit.txt": (
                "the identity that decrypts clips; it stays with the evidence unit, the station"
                " gets the .pub"
            ),
        },
        exits={0: "generated", 78: "the file exists already, or can't be written"},
    )
    parser.add_argument(
        "kind",
        choices=["station", "receiver", "identity"],
        metavar="KIND",
        help="station, receiver or identity",
    )
    add_file(
        parser, "-o", "--output", required=True, metavar="FILE", help="the file of the private key"
    )
    parser.add_argument(
        "--post-quantum", action="store_true", help="an identity resistant to quantum computers"
    )
    parser.set_defaults(run=_keygen)


def _keygen(options: argparse.Namespace) -> int:
    output: Path = options.output
    public = output.with_name(f"{output.name}.pub")
    if public.exists():
        raise KeyFileError(f"{public} exists already", hint="choose another file name")
    if options.kind == "identity":
        kind = HybridIdentity if options.post_quantum else X25519Identity
        identity = kind.generate()
        write_secret_file(output, f"# public key: {identity.recipient}\n{identity}\n".encode())
        write_public_file(public, f"{identity.recipient}\n".encode())
        print(identity.recipient)
        return 0
    if options.post_quantum:
        raise UsageError("--post-quantum is for identities; statements are signed with Ed25519")
    key = SigningKey.generate()
    write_secret_file(output, key.pem(options.kind))
    write_public_file(public, key.verify_key.pem(options.kind))
    print(key.kid)
    return 0
