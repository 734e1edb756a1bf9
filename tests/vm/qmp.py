"""A client of the QEMU Machine Protocol (QEMU's docs/interop/qmp-spec)."""

import json
import socket
from typing import Any

Message = dict[str, Any]

_PATIENCE = 120.0


class Qmp:
    """A connection to a QEMU, over a socket; for one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(_PATIENCE)
        self._lines = self._socket.makefile("r")
        self._events: list[Message] = []
        self._read()
        self.execute("qmp_capabilities")

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    def execute(self, command: str, **arguments: object) -> Any:
        """Execute a command; returns what it returned."""
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._read()
            if "event" in answer:
                self._events.append(answer)
                continue
            assert "error" not in answer, f"{request}: {answer}"
            return answer["return"]

    def wait_for(self, event: str, **data: object) -> None:
        """Wait for an event with this data, which may have come before."""

        def is_it(message: Message) -> bool:
            return bool(message["event"] == event and data.items() <= message["data"].items())

        for message in self._events:
            if is_it(message):
                self._events.remove(message)
                return
        while not is_it(message := self._read()):
            self._events.append(message)

    def _read(self) -> Message:
        line = self._lines.readline()
        assert line, "QEMU has hung up"
        message: Message = json.loads(line)
        return message
