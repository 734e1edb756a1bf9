"""A receiver that kills itself at one of its steps: ``python -m tests.receiver.crashing``."""

import asyncio
import re
import sys
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dockd.base.logs import configure
from dockd.receiver.app import open_receiver
from dockd.receiver.config import load
from dockd.receiver.server import serve
from tests.crash import CrashingFiles, Crossings


def crossing_requests(app: ASGIApp, crossings: Crossings) -> ASGIApp:
    """Cross when a request begins, and around its answer."""

    async def crossing(scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["method"] + " " + re.sub(r"[0-9a-f]{32,}", "*", scope["path"])

        async def crossing_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                crossings.cross(f"answering {name}")
            await send(message)
            if message["type"] == "http.response.body":
                crossings.cross(f"answered {name}")

        crossings.cross(f"began {name}")
        await app(scope, receive, crossing_send)

    return crossing


async def main(path: Path) -> None:
    """Run the receiver."""
    config = load(path)
    configure()
    crossings = Crossings.from_environment()
    async with open_receiver(config, files=CrashingFiles(crossings)) as receiver:
        await serve(
            crossing_requests(receiver.app, crossings),
            config.listen,
            receiver.stop,
            receiver.incidents,
        )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
