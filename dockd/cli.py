"""The command line.

How dockd speaks: results go to standard output, everything else to standard error, as
``dockd: …`` in lower case and without a full stop, a hint on a line of its own. Exit codes
are those of sysexits(3), as dockd.errors names them.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from dockd import __version__, daemon, demo
from dockd import config as configuration
from dockd.age import (
    HybridIdentity,
    Identity,
    X25519Identity,
    decrypt_file,
    parse_identities,
)
from dockd.clock import Clock
from dockd.errors import DockdError, KeyFileError, LedgerError, StatementError, UsageError
from dockd.keys import SigningKey, VerifyKey, read_key_file, write_secret_file
from dockd.ledger import Ledger
from dockd.prove import Exhibits, prove
from dockd.receiver import server

_DEFAULT_CONFIG = Path("/etc/dockd/config.toml")
_DEFAULT_RECEIVER_CONFIG = Path("/etc/dockd/receiver.toml")
_EX_IOERR = 74
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except DockdError as error:
        message = error.message
        print(f"dockd: {message[0].lower()}{message[1:]}", file=sys.stderr)
        if error.hint:
            print(f"dockd: hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader went away; a second complaint at exit would only confuse.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EX_IOERR
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"dockd: {place}{error.strerror}", file=sys.stderr)
        return _EX_IOERR


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dockd",
        description="Takes evidence off body-worn cameras: sealed, acknowledged, provable.",
    )
    parser.add_argument("--version", action="version", version=f"dockd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the station's daemon", description=_run.__doc__)
    run.add_argument("--config", type=Path, default=_DEFAULT_CONFIG, metavar="FILE")
    run.set_defaults(run=_run)

    receiver = commands.add_parser(
        "receiver", help="run the receiver", description=_receiver.__doc__
    )
    receiver.add_argument("--config", type=Path, default=_DEFAULT_RECEIVER_CONFIG, metavar="FILE")
    receiver.set_defaults(run=_receiver)

    keygen = commands.add_parser("keygen", help="make keys", description=_keygen.__doc__)
    keygen.add_argument("kind", choices=["station", "receiver", "identity"])
    keygen.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the private key's file"
    )
    keygen.add_argument(
        "--post-quantum", action="store_true", help="an identity that withstands quantum computers"
    )
    keygen.set_defaults(run=_keygen)

    decrypt = commands.add_parser("decrypt", help="open a clip", description=_decrypt.__doc__)
    decrypt.add_argument(
        "-i", "--identity", type=Path, required=True, action="append", metavar="FILE"
    )
    decrypt.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="a new file; standard output without it"
    )
    decrypt.add_argument("clip", type=Path, metavar="CLIP", help="an age file; - is standard input")
    decrypt.set_defaults(run=_decrypt)

    verify = commands.add_parser("verify", help="prove a clip", description=_verify.__doc__)
    verify.add_argument("--manifest", type=Path, required=True, metavar="FILE")
    verify.add_argument("--station-key", type=Path, required=True, action="append", metavar="FILE")
    verify.add_argument("--receipt", type=Path, metavar="FILE")
    verify.add_argument("--receiver-key", type=Path, action="append", metavar="FILE")
    verify.add_argument("--clip", type=Path, metavar="FILE", help="the ciphertext")
    verify.add_argument("-i", "--identity", type=Path, action="append", metavar="FILE")
    verify.add_argument("--journal", type=Path, metavar="FILE", help="from dockd journal")
    verify.add_argument("--json", action="store_true", help="one JSON object")
    verify.set_defaults(run=_verify)

    journal = commands.add_parser("journal", help="print the journal", description=_journal.__doc__)
    journal.add_argument("--config", type=Path, default=_DEFAULT_CONFIG, metavar="FILE")
    journal.set_defaults(run=_journal)

    demo = commands.add_parser(
        "demo", help="see the whole job on this machine", description=_demo.__doc__
    )
    demo.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="copy these files as clips"
    )
    demo.add_argument("--json", action="store_true", help="one JSON object")
    demo.set_defaults(run=_demo)
    return parser


def _run(options: argparse.Namespace) -> int:
    """Run the station's daemon until SIGTERM; SIGHUP reads the configuration again."""
    return daemon.run(options.config)


def _receiver(options: argparse.Namespace) -> int:
    """Run the receiver until SIGTERM."""
    return server.run(options.config)


def _keygen(options: argparse.Namespace) -> int:
    """Make a key: a private file with mode 0600, and its public half beside it (.pub)."""
    output: Path = options.output
    public = output.with_name(f"{output.name}.pub")
    if public.exists():
        raise KeyFileError(f"{public} is there already", hint="choose another place")
    if options.kind == "identity":
        kind = HybridIdentity if options.post_quantum else X25519Identity
        identity = kind.generate()
        write_secret_file(output, f"# public key: {identity.recipient}\n{identity}\n".encode())
        public.write_text(f"{identity.recipient}\n")
        print(identity.recipient)
        return 0
    if options.post_quantum:
        raise UsageError("--post-quantum is for identities; statements are signed with Ed25519")
    key = SigningKey.generate()
    write_secret_file(output, key.pem())
    public.write_bytes(key.verify_key.pem())
    print(key.kid)
    return 0


def _decrypt(options: argparse.Namespace) -> int:
    """Open an age file; on any failure nothing is left behind that was not authenticated."""
    source = Path("/dev/stdin") if options.clip == Path("-") else options.clip
    output = sys.stdout.buffer if options.output is None else options.output
    decrypt_file(source, output, _identities(options.identity))
    return 0


def _verify(options: argparse.Namespace) -> int:
    """Prove offline that clip, manifest, receipt and journal belong together; 65 if not."""
    if options.receipt is not None and not options.receiver_key:
        raise UsageError("--receipt needs --receiver-key", hint="dockd verify --help")
    exhibits = Exhibits(
        manifest=_statement(options.manifest),
        station_keys=[VerifyKey.load(path) for path in options.station_key],
        receipt=_statement(options.receipt) if options.receipt else None,
        receiver_keys=[VerifyKey.load(path) for path in options.receiver_key or ()],
        clip=options.clip,
        identities=_identities(options.identity or ()),
        journal=options.journal,
    )
    findings = list(prove(exhibits))
    holds = all(finding.holds for finding in findings)
    if options.json:
        print(json.dumps({"holds": holds, "findings": [asdict(one) for one in findings]}))
    else:
        for finding in findings:
            print(f"{'ok    ' if finding.holds else 'FAILED'} {finding.what}: {finding.detail}")
    return 0 if holds else StatementError.exit_code


def _journal(options: argparse.Namespace) -> int:
    """Print the journal, an entry a line, and check its hash chain; 65 if it is broken."""
    config = configuration.load(options.config)
    if not config.ledger_path.exists():
        raise LedgerError(f"{config.ledger_path} is not there", hint="has this station ever run?")
    ledger = Ledger(config.ledger_path, Clock())
    try:
        for entry in ledger.entries():
            print(entry.as_json())
        ledger.verify_journal()
    finally:
        ledger.close()
    return 0


def _demo(options: argparse.Namespace) -> int:
    """Dock two cameras, cut a connection, wipe, and prove a clip, with throw-away keys."""
    return demo.run(options.source, as_json=options.json)


def _statement(path: Path) -> str:
    return read_key_file(path).decode("ascii", "replace").strip()


def _identities(paths: Sequence[Path]) -> list[Identity]:
    texts = [read_key_file(path).decode("utf-8", "replace") for path in paths]
    return [identity for text in texts for identity in parse_identities(text)]
