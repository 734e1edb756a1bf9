"""Keys and secrets: present, usable, and readable by nobody else."""

import stat
from collections.abc import Callable
from pathlib import Path

from dockd.base.errors import KeyFileError
from dockd.base.findings import Finding, Findings, error, failure, ok, warning
from dockd.evidence.age import parse_recipients
from dockd.evidence.keys import SigningKey, VerifyKey, read_secret_file, read_token
from dockd.host.users import as_user, can_be, unreadable
from dockd.station.check.credentials import is_credential, located
from dockd.station.check.subject import Subject

_KEYS = "see docs/configure.md, Keys"


def check(subject: Subject) -> Findings:
    """Check every key that the configuration names."""
    config = subject.config
    yield from _shut(subject)
    yield from _secret(
        subject,
        "station.key_file",
        config.station.key_file,
        lambda path: f"signs manifests as {SigningKey.load(path, 'station').kid}",
    )
    for name, secret in (
        ("target.token_file", config.target.token_file),
        ("target.client_key_file", config.target.client_key_file),
    ):
        if secret is not None:
            use = _token if name == "target.token_file" else _read
            yield from _secret(subject, name, secret, use)
    yield _recipients(config.encryption.recipients)
    own = _own_kid(subject)
    for path in config.target.receiver_keys:
        yield _pinned(path, own)
    for path in config.station.earlier_keys:
        yield _earlier(path)


def _shut(subject: Subject) -> Findings:
    """Report configured files that the service can't read."""
    config, root = subject.config, subject.machine.root
    named = {
        "station.key_file": config.station.key_file,
        "target.token_file": config.target.token_file,
        "target.client_key_file": config.target.client_key_file,
        "target.client_certificate": config.target.client_certificate,
        "target.ca_file": config.target.ca_file,
    }
    files = [(name, path) for name, path in named.items() if path is not None]
    files += [("target.receiver_keys", path) for path in config.target.receiver_keys]
    files += [("station.earlier_keys", path) for path in config.station.earlier_keys]
    # systemd shows the service its credentials, whoever owns them.
    files = [
        (n, path) for n, path in files if not is_credential(path, root) and not _is_missing(path)
    ]
    if not can_be(subject.uid):
        yield warning(
            f"access by the service's user {subject.uid} was not checked",
            "run dockd check as root, or as that user",
        )
        return
    problems = as_user(subject.uid, lambda: [unreadable(path) for _, path in files])
    for (name, path), problem in zip(files, problems, strict=True):
        if problem is not None:
            yield error(
                f"{name}: {path} can't be read by the service's user {subject.uid}:"
                f" {problem.strerror}",
                f"chown {subject.uid} {path}, and grant access to its parent folders",
            )


def _is_missing(path: Path) -> bool:
    """Return whether the file does not exist; an inaccessible one is reported as unreadable."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _earlier(path: Path) -> Finding:
    try:
        key = VerifyKey.load(path, "station")
    except KeyFileError as problem:
        return failure(problem, _KEYS)
    return ok(f"station.earlier_keys: manifests signed by {key.kid} are accepted ({path})")


def _secret(subject: Subject, name: str, path: Path, use: Callable[[Path], str]) -> Findings:
    try:
        path = located(path, subject.machine.root)
    except PermissionError as refused:
        yield warning(
            f"{name}: can't be checked while the service is stopped: {refused}",
            "run dockd check as root",
        )
        return
    try:
        yield ok(f"{name}: {path} {use(path)}")
    except KeyFileError as problem:
        yield failure(problem, _KEYS)
        return
    owner = path.stat().st_uid
    if owner != subject.uid and not (owner == 0 and is_credential(path, subject.machine.root)):
        yield error(
            f"{name}: {path} is owned by user {owner}, but the service runs as {subject.uid}",
            f"chown {subject.uid} {path}, or make it a credential: see docs/install.md",
        )


def _read(path: Path) -> str:
    read_secret_file(path)
    return "is readable only by its owner"


def _token(path: Path) -> str:
    read_token(path)
    return "holds a token, readable only by its owner"


def _recipients(texts: tuple[str, ...]) -> Finding:
    number = len(parse_recipients(texts))
    if number == 1:
        return warning(
            "encryption.recipients: clips are encrypted to one identity; if it is lost, they are"
            " lost as well",
            "add a second recipient, and store its identity elsewhere",
        )
    return ok(f"encryption.recipients: clips are encrypted to {number} identities")


def _own_kid(subject: Subject) -> str | None:
    try:
        path = located(subject.config.station.key_file, subject.machine.root)
        return SigningKey.load(path, "station").kid
    except (KeyFileError, PermissionError):
        return None  # told where it is looked at


def _pinned(path: Path, own: str | None) -> Finding:
    try:
        key = VerifyKey.load(path, "receiver")
    except KeyFileError as problem:
        return failure(problem, _KEYS)
    if key.kid == own:
        return error(
            f"target.receiver_keys: {path} is this station's own key, but must be a receiver's",
            f"fetch the receiver's .pub; {_KEYS}",
        )
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return error(
            f"target.receiver_keys: {path} can be replaced by other users, and with it"
            " the basis of wipes",
            f"chmod 644 {path}, and compare its key, {key.kid}, with the receiver's",
        )
    return ok(f"target.receiver_keys: receipts signed by {key.kid} are accepted ({path})")
