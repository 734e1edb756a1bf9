"""Commands in a virtual machine, over one ssh connection."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.vm.image import Image

PATIENCE = 300.0
"""Seconds that a test waits for what must happen; never reached when all is well."""


class Shell:
    """A connection as root to the machine behind a port of 127.0.0.1."""

    def __init__(self, image: Image, port: int, folder: Path) -> None:
        self._log = folder / "ssh.log"
        self._ssh = [
            *("ssh", "-F", "none", "-S", str(folder / "ssh"), "-p", str(port), "-l", "root"),
            *("-i", str(image.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={image.known_hosts}", "-o", "HostKeyAlias=machine"),
            *("-o", "LogLevel=ERROR"),
        ]
        # It goes to the background once it is connected; its end is the machine's.
        with self._log.open("ab") as log:
            subprocess.run(
                [*self._ssh, "-f", "-N", "-M", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
                timeout=PATIENCE,
            )

    def command(self, command: str) -> list[str]:
        """Return what runs a command of the machine's shell, on this side."""
        return [*self._ssh, "127.0.0.1", command]

    def close(self) -> None:
        """Close the connection, where the machine still is there."""
        subprocess.run([*self._ssh, "-O", "exit", "127.0.0.1"], capture_output=True, check=False)

    def attempt(
        self, command: str, *, stdin: bytes = b"", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command that may fail."""
        return subprocess.run(
            self.command(command), input=stdin, capture_output=True, timeout=timeout, check=False
        )

    def read(self, command: str, *, stdin: bytes = b"", timeout: float = PATIENCE) -> bytes:
        """Run a command; returns what it wrote."""
        ended = self.attempt(command, stdin=stdin, timeout=timeout)
        said = (ended.stdout[-20_000:] + ended.stderr[-20_000:]).decode(errors="replace")
        assert ended.returncode == 0, f"{command}: {ended.returncode}\n{said}"
        return ended.stdout


def until(holds: Callable[[], bool]) -> None:
    """Wait for what tells nobody when it has come, such as QEMU's counters."""
    give_up = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)
