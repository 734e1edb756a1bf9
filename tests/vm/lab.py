"""The machines of one run, and what is kept of them where a test fails."""

import shutil
import time
from pathlib import Path

from tests.vm.image import image
from tests.vm.machine import Machine

LOGS = Path(__file__).parents[2] / ".cache" / "vm-logs"


class Lab:
    """Makes machines, and ends those that are left."""

    def __init__(self) -> None:
        self.image = image()
        self.logs = LOGS / time.strftime("%Y%m%d-%H%M%S")
        self._machines: list[Machine] = []

    def machine(self, disk: Path | None = None) -> Machine:
        """Return a new machine, switched off, whose disk starts as a copy of another."""
        machine = Machine(self.image, disk)
        self._machines.append(machine)
        return machine

    def end(self, machine: Machine) -> None:
        """Switch a machine off for good."""
        self._machines.remove(machine)
        machine.__exit__(None, None, None)

    def close(self) -> None:
        """End all machines."""
        for machine in list(self._machines):
            self.end(machine)

    def keep_logs(self, name: str) -> None:
        """Keep what the machines have said, under the name of the test that failed."""
        for number, machine in enumerate(self._machines):
            folder = self.logs / name / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            for log in machine.folder.glob("*.log"):
                shutil.copy(log, folder)
            (folder / "everything.log").write_bytes(machine.everything_said())
