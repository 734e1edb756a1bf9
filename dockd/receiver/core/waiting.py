"""Waiting for a verification, but not through a shutdown."""

import asyncio

from dockd.receiver.core.verifier import Verification

MAX_WAIT = 30
"""Seconds that a request waits for a verification, at most."""


async def wait_for(verification: Verification, seconds: float, stopping: asyncio.Event) -> None:
    """Wait for a verification, at most so long, and no longer once the receiver shuts down."""
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait(
            {verification, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        stopped.cancel()
