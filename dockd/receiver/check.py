"""``dockd receiver --check``: checks the receiver's setup without running it."""

import contextlib
import os
import pwd
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from dockd.base.clock import Clock
from dockd.base.errors import DockdError
from dockd.base.findings import Finding, Findings, error, failure, ok, warning
from dockd.base.sizes import shown_size
from dockd.evidence.keys import SigningKey, pem_path
from dockd.host.users import as_user, can_be
from dockd.receiver import config as configuration
from dockd.receiver.config import Config, ListenConfig
from dockd.receiver.core.stations import EnrolledStation, Stations
from dockd.receiver.listening import is_exposed, tls_context

_EXPIRES_SOON = timedelta(days=30)
_SERVICE_USER = "dockd-receiver"
_SERVICE_STORE = Path("/var/lib/dockd-receiver")


def check(config_path: Path) -> Iterator[tuple[str, Finding]]:
    """Yield the findings on each part, under its name; nothing is changed."""
    try:
        config = configuration.load(config_path)
    except DockdError as problem:
        yield "configuration", failure(problem, "the other checks need a valid configuration")
        return
    yield "configuration", ok(f"{config_path} is valid")
    for name, look in (("keys", _keys), ("listen", _listen), ("store", _store)):
        try:
            for finding in look(config):
                yield name, finding
        except DockdError as problem:
            yield name, failure(problem)
        except OSError as problem:
            yield name, error(f"{problem}", "run it as the user of the service, or as root")


def _keys(config: Config) -> Findings:
    key = SigningKey.load(config.receiver.key_file, "receiver")
    yield ok(f"{config.receiver.key_file} signs receipts as {key.kid}")
    stations = Stations([EnrolledStation.load(entry) for entry in config.stations])
    stations.check_own(key)
    yield ok(f"{len(config.stations)} stations are enrolled")
    open_ones = [entry.id for entry in config.stations if not entry.tokens_sha256]
    if open_ones and config.listen.client_ca_file is None:
        yield warning(
            f"{', '.join(open_ones[:5])}: anyone who can reach the receiver may ask in their name;"
            " an upload still needs their signature",
            "give each station a token (tokens_sha256), or require certificates (client_ca_file)",
        )


def _listen(config: Config) -> Findings:
    listen = config.listen
    where = f"{listen.host} port {listen.port}"
    if listen.certificate is not None:
        tls_context(listen)
        yield ok(f"{where}, with TLS")
        yield _certificate(listen)
    elif is_exposed(listen):
        yield warning(
            f"{where}: plain HTTP on an address that other machines can reach; tokens and"
            " manifests can be read in transit",
            "set listen.certificate and certificate_key_file, or listen on 127.0.0.1 behind a"
            " proxy",
        )
    else:
        yield ok(f"{where}: plain HTTP, for this machine only")


def _certificate(listen: ListenConfig) -> Finding:
    assert listen.certificate is not None
    with pem_path(listen.certificate) as plain:
        certificate = x509.load_pem_x509_certificate(plain.read_bytes())
    ends, now = certificate.not_valid_after_utc, Clock().now()
    if ends < now:
        return error(f"{listen.certificate} expired on {ends:%Y-%m-%d}", "replace it")
    if ends < now + _EXPIRES_SOON:
        return warning(f"{listen.certificate} expires on {ends:%Y-%m-%d}", "replace it")
    return ok(f"{listen.certificate} is valid until {ends:%Y-%m-%d}")


def _store(config: Config) -> Findings:
    path = config.store.path
    uid = _uid(path)
    if not path.exists():
        yield _missing(path, uid)
        return
    if not _can_write(path, uid):
        yield error(f"user {uid} can't write to {path}", "give the receiver's user write access")
        return
    if not can_be(uid):
        yield warning(
            f"{path} belongs to user {uid}, and was checked as user {os.geteuid()}",
            "run it as the user of the service, or as root",
        )
    system = os.statvfs(path)
    free, reserve = system.f_bavail * system.f_frsize, config.store.reserve
    about = f"{path}: {shown_size(free)} are free, {shown_size(reserve)} stay in reserve"
    if free <= reserve:
        yield error(about, "free up space on the store's disk; every upload is refused (507)")
    elif free <= 2 * reserve:
        yield warning(about, "free up space on the store's disk before uploads are refused")
    else:
        yield ok(about)
    with contextlib.suppress(FileNotFoundError):
        damaged = sum(1 for _ in (path / "damaged").iterdir())
        if damaged:
            yield warning(
                f"{path / 'damaged'} holds {damaged} files that were damaged on disk",
                "check the disk (dmesg); docs/formats.md describes them",
            )


def _uid(store: Path) -> int:
    """Return the user of a store's receiver: the unit's user, or the store's owner."""
    if store == _SERVICE_STORE:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(_SERVICE_USER).pw_uid
    try:
        return store.stat().st_uid
    except OSError:
        return os.geteuid()


def _missing(store: Path, uid: int) -> Finding:
    """Say whether the first start can create a store."""
    parent = next(folder for folder in store.parents if folder.exists())
    # systemd creates that of the service (StateDirectory=).
    if store == _SERVICE_STORE or _can_write(parent, uid):
        return ok(f"{store} does not exist yet; the first start creates it")
    return error(
        f"{store} does not exist, and user {uid} can't create it in {parent}",
        "create it, and give the receiver's user write access",
    )


def _can_write(folder: Path, uid: int) -> bool:
    """Say whether a user can use a folder, as root may do more than that user."""
    return as_user(uid, lambda: os.access(folder, os.R_OK | os.W_OK | os.X_OK))
