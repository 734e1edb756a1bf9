"""A shutdown that something holds up ends as a crash does, in time."""

import subprocess
import sys

SCRIPT = """
import asyncio, sys, threading
from dockd.base.threads import Pool
from dockd.host.stopping import Deadline, abandon_calls

def cut_short(*, seconds):
    print("cut short after", seconds, flush=True)

{body}
"""


def run(body: str) -> tuple[int, str]:
    script = SCRIPT.format(body=body)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_process_that_does_not_end_in_time_is_ended_with_the_last_exit_code() -> None:
    body = """
deadline = Deadline(0.01, cut_short)
deadline.begin(3)
deadline.begin(7)
threading.Event().wait()
"""
    assert run(body) == (7, "cut short after 0.01\n")


def test_a_shutdown_that_is_over_is_not_cut_short() -> None:
    body = """
deadline = Deadline(0.05, cut_short)
deadline.begin(3)
deadline.over()
threading.Event().wait(0.2)
"""
    assert run(body) == (0, "")


def test_a_call_that_never_returns_keeps_no_process_once_it_is_abandoned() -> None:
    body = """
async def main():
    pool = Pool("hanging", 1)
    began = threading.Event()
    call = pool.run(lambda: (began.set(), threading.Event().wait()))
    await asyncio.to_thread(began.wait)
    abandon_calls(1)  # it is still waited for
    pool.abandon()

asyncio.run(main())
abandon_calls(5)
"""
    assert run(body) == (5, "")
