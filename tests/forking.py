"""Processes of dockd that start at once: forks of one that has imported everything.

Most of what a test with real processes takes is the start of an interpreter. Only what has to
do with the start itself needs one of its own.
"""

import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("dockd.cli.main", "dockd.station.daemon", "dockd.receiver.server"),
        # What these import once they work.
        *("_strptime", "anyio._backends._asyncio", "encodings.idna", "httpcore", "socksio"),
        "uvicorn.lifespan.off",
    ]
)


class Forked:
    """``python -W error -m`` some module, with a pipe from its standard error.

    The methods are those of a :class:`subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        reader, writer = _FORKS.Pipe(duplex=False)
        with reader, writer:
            self._process = _FORKS.Process(
                target=_run,
                args=(list(command), os.environ | environment, str(Path.cwd()), writer),
            )
            self._process.start()
            self.stderr = io.TextIOWrapper(io.FileIO(os.dup(reader.fileno())))

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"process {self.pid} has not ended after {timeout} s"
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, where it still runs."""
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self.send_signal(signal.SIGKILL)


def _run(
    command: Sequence[str], environment: Mapping[str, str], folder: str, stderr: Connection
) -> None:
    os.dup2(stderr.fileno(), sys.stderr.fileno())
    stderr.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    warnings.resetwarnings()
    warnings.simplefilter("error")
    module, *sys.argv[1:] = command
    runpy.run_module(module, run_name="__main__", alter_sys=True)
