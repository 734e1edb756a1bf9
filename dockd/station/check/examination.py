"""All checks in order; the failure of one does not affect the next."""

import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

from dockd.base.errors import DockdError
from dockd.base.findings import Finding, Findings, error, failure, fenced, ok
from dockd.host.users import as_user, can_be, unreadable
from dockd.station import config as configuration
from dockd.station.check import cameras, credentials, daemon, keys, permission, server, storage
from dockd.station.check.subject import Machine, Subject
from dockd.station.config import Config

_SERVICE_USER = "dockd"
_SERVICE_CONFIG = "etc/dockd/config.toml"
"""The user and the configuration of dockd.service."""
_CHECKS: dict[str, Callable[[Subject], Findings]] = {
    "keys": keys.check,
    "ledger": storage.check_ledger,
    "spool": storage.check_spool,
    "permission": permission.check,
    "cameras": cameras.check,
    "clock": daemon.check_clock,
    "server": server.check,
    "daemon": daemon.check_daemon,
}


def examine(config_path: Path, machine: Machine) -> Iterator[tuple[str, Finding]]:
    """Yield the findings of each check, with the check's name; nothing is changed."""
    credentials.adopt(machine.root)
    try:
        config = configuration.load(config_path)
    except DockdError as problem:
        yield "configuration", failure(problem, "fix it first; the other checks depend on it")
        return
    yield "configuration", ok(f"{config_path} is valid")
    is_service = config_path.absolute() == machine.root / _SERVICE_CONFIG
    subject = Subject(config, machine, _uid(config, is_service=is_service))
    if can_be(subject.uid) and (shut := as_user(subject.uid, lambda: unreadable(config_path))):
        yield (
            "configuration",
            error(
                f"{config_path} can't be read by the service's user {subject.uid}: {shut.strerror}",
                f"chmod a+r {config_path}, and grant access to its parent folders",
            ),
        )
    for name, check in _CHECKS.items():
        for finding in fenced(name, check(subject)):
            yield name, finding


def _uid(config: Config, *, is_service: bool) -> int:
    """Return the user that the daemon of a configuration runs as.

    That of the service's is the unit's user, even if the state belongs to somebody else by
    mistake; of another, the owner of the state is as good a guess as there is.
    """
    try:
        service = pwd.getpwnam(_SERVICE_USER).pw_uid
    except KeyError:
        service = None
    if is_service and service is not None:
        return service
    try:
        return config.station.state.stat().st_uid
    except OSError:
        return os.geteuid() if service is None else service
