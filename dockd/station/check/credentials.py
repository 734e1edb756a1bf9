"""Where the service's secrets are for other processes: systemd's credentials.

``LoadCredential=`` of dockd.service shows the service what is in /etc/credstore; the
service's own folder of them is there only while it runs (systemd.exec(5), CREDENTIALS).
"""

import os
from pathlib import Path

_SHOWN = "run/credentials"
_STORE = "etc/credstore"
_UNIT = "dockd.service"
_STORED_AS = "dockd."
"""The prefix of a secret's name in /etc/credstore, which all services share."""


def adopt(root: Path) -> None:
    """Use the running service's credentials, unless this process has its own.

    They are known by an environment variable, which is set for this process.
    """
    folder = root / _SHOWN / _UNIT
    if "CREDENTIALS_DIRECTORY" not in os.environ and os.access(folder, os.R_OK | os.X_OK):
        os.environ["CREDENTIALS_DIRECTORY"] = str(folder)


def located(path: Path, root: Path) -> Path:
    """Return the path of a secret: as configured, else where the next start takes it from.

    Raises:
        PermissionError: only root can say.
    """
    stored = root / _STORE / f"{_STORED_AS}{path.name}"
    if path.exists() or not os.access(stored.parent, os.F_OK):
        return path
    if not os.access(stored.parent, os.X_OK):
        raise PermissionError(f"{stored.parent} is accessible only to root")
    return stored if stored.exists() else path


def is_credential(path: Path, root: Path) -> bool:
    """Return whether systemd passes a secret to the service, regardless of the file's owner."""
    return any(path.is_relative_to(root / folder) for folder in (_SHOWN, _STORE))
