"""A throw-away machine to try things in: ``python -m tests.vm [IMAGE...]``.

Each image is plugged in as a camera. The shell's end is the machine's.
"""

import subprocess
import sys
from pathlib import Path

from tests.vm.image import image
from tests.vm.machine import Machine


def main() -> None:
    """Boot a machine and give a shell in it."""
    with Machine(image()) as machine:
        machine.boot()
        for number, camera in enumerate(sys.argv[1:]):
            machine.plug(Path(camera).resolve(), serial=f"CAM{number}")
        subprocess.run(machine.shell.command("exec bash -l"), check=False)


if __name__ == "__main__":
    main()
