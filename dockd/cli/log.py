"""dockd log: verifying a receiver's statement log, offline or over HTTP."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import httpx

from dockd.base.errors import StatementLogError, UsageError
from dockd.cli.parser import Commands, add_file
from dockd.cli.verifications import say_verifications
from dockd.evidence.keys import VerifyKey, read_key_text
from dockd.evidence.log.tiles import MAX_ENTRY, WIDTH, Tile
from dockd.evidence.log.verify import verify_log
from dockd.host.files import Files
from dockd.receiver.store.log_folder import LogFolder

_CHECKPOINT = "checkpoint"
_LARGEST = WIDTH * (MAX_ENTRY + 2)
"""Bytes of the largest bundle of entries."""
_TIMEOUT_SECONDS = 60.0


def add_to(commands: Commands) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "log",
        help="verify a receiver's statement log",
        description=(
            "A receiver enters every receipt into one append-only log, from which nothing can be"
            " removed or altered unnoticed."
        ),
        examples={
            "dockd log verify /var/lib/dockd-receiver --receiver-key receiver.key.pub": (
                "the log in a store"
            ),
        },
        exits={0: "everything verified", 65: "a check failed"},
    )
    _add_verify(parser.add_commands())


def _add_verify(commands: Commands) -> None:
    parser = commands.add_parser(
        "verify",
        help="verify the whole log",
        description=(
            "Verifies a log from its checkpoint and tiles alone: signatures, every entry, every"
            " hash, and the root. Each check is a line. Memory does not grow with the log."
        ),
        examples={
            "dockd log verify store --receiver-key receiver.key.pub": "in a store, or in a copy",
            "dockd log verify https://evidence.example:8470/log --receiver-key receiver.key.pub"
            " --token-file token": "over HTTP",
            "dockd log verify store --receiver-key receiver.key.pub --since checkpoint.2026-11": (
                "that it continues what was published then"
            ),
        },
        exits={0: "everything verified", 65: "a check failed; its line says FAILED"},
    )
    parser.add_argument("log", metavar="LOG", help="a store, its log folder, or the log's URL")
    several = {"action": "append", "metavar": "FILE", "default": []}
    add_file(
        parser,
        "--receiver-key",
        required=True,
        help="a public key of the receiver; may be repeated",
        **several,
    )
    add_file(parser, "--token-file", metavar="FILE", help="a station's token, for a URL")
    add_file(
        parser, "--since", metavar="FILE", help="an earlier checkpoint that the log has to continue"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    is_url = options.log.startswith(("http://", "https://"))
    if options.token_file and not is_url:
        raise UsageError("--token-file needs a URL", hint="dockd log verify --help")
    keys = [VerifyKey.load(path, "receiver") for path in options.receiver_key]
    since = options.since.read_bytes() if options.since else None
    with _remote(options.log, options.token_file) if is_url else _local(options.log) as log:
        checkpoint = log.checkpoint()
        if checkpoint is None:
            raise StatementLogError(f"{options.log} has no checkpoint")
        checks = verify_log(checkpoint, log.fetch, keys, since)
        holds = say_verifications(checks, as_json=options.json)
    return 0 if holds else StatementLogError.exit_code


class _Log(Protocol):
    """Where a log is read from."""

    def checkpoint(self) -> bytes | None: ...

    def fetch(self, tile: Tile) -> bytes: ...


class _Remote:
    """A log behind a URL."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def checkpoint(self) -> bytes:
        return self._get(_CHECKPOINT)

    def fetch(self, tile: Tile) -> bytes:
        return self._get(tile.path)

    def _get(self, path: str) -> bytes:
        data = bytearray()
        try:
            with self._client.stream("GET", path) as response:
                if response.status_code != httpx.codes.OK:
                    raise StatementLogError(f"{response.url}: HTTP {response.status_code}")
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > _LARGEST:
                        raise StatementLogError(f"{response.url} is too large")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StatementLogError(f"{path}: {error}") from error
        return bytes(data)


@contextlib.contextmanager
def _remote(url: str, token_file: Path | None) -> Iterator[_Log]:
    headers = {}
    if token_file is not None:
        headers["Authorization"] = f"Bearer {read_key_text(token_file).strip()}"
    try:
        client = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url}: {error}") from error
    with client:
        yield _Remote(client)


@contextlib.contextmanager
def _local(path: str) -> Iterator[_Log]:
    folder = Path(path)
    if not (folder / _CHECKPOINT).exists():
        folder /= "log"
    yield LogFolder(folder, Files())
