"""One clip's ingest, against the shell and against a bare digest."""

import os
import threading
from pathlib import Path

from benchmarks.measure import Comparison, Contender, compare, fill, shell
from dockd.evidence.age import Recipient, X25519Identity
from dockd.station.pipeline.ingest import ingest

CLIP_SIZE = 2 * 2**30

_SHELL = (
    'sha256sum "$CLIP" >/dev/null & age -r "$RECIPIENT" "$CLIP" | tee "$OUTPUT" | sha256sum'
    " >/dev/null; wait"
)


def measure(folder: Path, runs: int) -> list[Comparison]:
    """Make the comparisons on a clip of 2 GiB in a folder on tmpfs."""
    clip, copy = folder / "clip.mp4", folder / "clip.age"
    recipient = X25519Identity.generate().recipient
    fill(clip, CLIP_SIZE)

    def sealing(output: Path, threads: int = 2) -> Contender:
        return Contender(lambda: _ingest(clip, output, recipient, threads))

    def shell_sealing(output: Path) -> Contender:
        return Contender(
            lambda: shell(_SHELL, CLIP=str(clip), RECIPIENT=str(recipient), OUTPUT=str(output))
        )

    null = Path("/dev/null")
    comparisons = [
        compare(
            f"ingest of 2 GiB to {name}",
            CLIP_SIZE,
            sealing(output),
            "sha256sum beside age into sha256sum",
            shell_sealing(output),
            at_least=3.0,
            runs=runs,
        )
        for name, output in (("/dev/null", null), ("tmpfs", copy))
    ]
    copy.unlink()
    comparisons.append(
        compare(
            "ingest of 2 GiB to /dev/null",
            CLIP_SIZE,
            sealing(null),
            "openssl dgst -sha256",
            Contender(lambda: shell('openssl dgst -sha256 "$CLIP" >/dev/null', CLIP=str(clip))),
            at_least=0.55,
            runs=runs,
        )
    )
    comparisons.append(
        compare(
            "two clips of 2 GiB at once, each on one thread",
            2 * CLIP_SIZE,
            Contender(lambda: _at_once(clip, recipient)),
            "the two one after the other",
            Contender(lambda: _one_after_the_other(clip, recipient)),
            at_least=1.8,
            runs=runs,
        )
    )
    clip.unlink()
    return comparisons


def _ingest(clip: Path, output: Path, recipient: Recipient, threads: int) -> None:
    source = os.open(clip, os.O_RDONLY)
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        ingest(source, lambda block: _write(sink, block), [recipient], threads=threads)
    finally:
        os.close(source)
        os.close(sink)


def _write(sink: int, block: memoryview) -> None:
    while block:
        block = block[os.write(sink, block) :]


def _one_after_the_other(clip: Path, recipient: Recipient) -> None:
    for _ in range(2):
        _ingest(clip, Path("/dev/null"), recipient, 1)


def _at_once(clip: Path, recipient: Recipient) -> None:
    threads = [
        threading.Thread(target=_ingest, args=(clip, Path("/dev/null"), recipient, 1))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
