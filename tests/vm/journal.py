"""The machine's journal, followed while it is written."""

import itertools
import json
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.vm.shell import PATIENCE, Shell

Event = dict[str, Any]

_TAG = "mark"


class Journal:
    """What some units have said since the machine started."""

    def __init__(self, shell: Shell, units: Sequence[str], log: Path) -> None:
        self.events: list[Event] = []
        self._shell = shell
        self._said = threading.Condition()
        self._marks = itertools.count()
        self._ended = False
        matches = " + ".join(
            [
                f"SYSLOG_IDENTIFIER={_TAG}",
                *(f"_SYSTEMD_UNIT={unit}" for unit in units),
                *(f"UNIT={unit} _PID=1" for unit in units),
            ]
        )
        self._process = subprocess.Popen(
            shell.command(
                "exec journalctl --follow --boot --all --lines=all --output=json "
                f"--output-fields=MESSAGE,_SYSTEMD_UNIT,SYSLOG_IDENTIFIER {matches}"
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._follower = threading.Thread(target=self._follow, args=(log,))
        self._follower.start()

    def _follow(self, log: Path) -> None:
        assert self._process.stdout is not None
        with log.open("a") as copy, self._process.stdout as lines:
            for line in lines:
                entry = json.loads(line)
                # journalctl gives a message that isn't printable text as a list of bytes.
                said = entry["MESSAGE"]
                text = said if isinstance(said, str) else bytes(said).decode(errors="replace")
                unit = entry.get("_SYSTEMD_UNIT", "")
                copy.write(f"{entry['__REALTIME_TIMESTAMP']} {unit} {text}\n")
                copy.flush()
                with self._said:
                    self.events.append(_event(entry.get("SYSLOG_IDENTIFIER", ""), text, unit))
                    self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()

    def mark(self) -> int:
        """Return the place after everything that has been said up to now, for `since`."""
        mark = str(next(self._marks))
        self._shell.read(f"systemd-cat --identifier={_TAG} echo {mark}")
        self.wait_for(_TAG, message=mark)
        return len(self.events)

    def find(self, name: str, *, since: int = 0, **fields: object) -> list[Event]:
        """Return the events of this name and with these fields."""
        return [
            one
            for one in self.events[since:]
            if one["event"] == name and fields.items() <= one.items()
        ]

    def wait_for(
        self,
        name: str,
        *,
        since: int = 0,
        count: int = 1,
        patience: float = PATIENCE,
        **fields: object,
    ) -> Event:
        """Wait until an event has come so many times; returns the last one."""

        def has_come() -> bool:
            return len(self.find(name, since=since, **fields)) >= count

        with self._said:
            self._said.wait_for(lambda: has_come() or self._ended, patience)
            said = "\n".join(str(one) for one in self.events[since:][-200:])
            assert has_come(), f"{name} {fields or ''} did not come:\n{said}"
            return self.find(name, since=since, **fields)[count - 1]

    def close(self) -> None:
        """Stop to follow."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._follower.join()


def _event(identifier: str, text: str, unit: str) -> Event:
    """Return a line of dockd's log; a line of others is an event with the name of who wrote it."""
    if text.startswith("{"):
        said = json.loads(text)
        if "event" in said:
            return {"unit": unit, **said}
    return {"unit": unit, "event": identifier, "message": text}
