"""Reading back what the disk holds, past the page cache."""

import errno
import hashlib
import threading
from pathlib import Path

from dockd.base.errors import UploadDamagedError, UploadUnreadableError
from dockd.evidence.statements import Content
from dockd.host.files import read_from_disk

_UNREADABLE = {errno.EIO, errno.ENODATA, errno.EILSEQ, errno.EBADMSG, errno.EUCLEAN}
"""What Linux returns if a medium or a file system has lost these very bytes.

``O_DIRECT`` returns the block layer's own numbers (``blk_errors`` in block/blk-core.c), which
the page cache turns into EIO; file systems use EBADMSG and EUCLEAN for wrong checksums and
broken structures.
"""


def read_back(path: Path, expected: Content, stopping: threading.Event) -> bool:
    """Read a file from the disk and compare it with what is expected; false if stopped.

    Bytes that differ are read once more: a transient fault in transfer is not damage.

    Raises:
        UploadDamagedError: it differs, or is missing.
        UploadUnreadableError: the disk can't return it.
        OSError: it could not be read for another reason, which may be transient.
    """
    found = _read(path, stopping)
    if found is not None and found != expected:
        found = _read(path, stopping)
    if found is None:
        return False
    if found == expected:
        return True
    raise UploadDamagedError(
        f"the disk has {found.size} bytes with SHA-256 {found.sha256}, "
        f"instead of {expected.size} with {expected.sha256}",
        hint="the station checks its spool and uploads again",
    )


def _read(path: Path, stopping: threading.Event) -> Content | None:
    digest = hashlib.sha256()
    size = 0
    try:
        for block in read_from_disk(path):
            if stopping.is_set():
                return None
            digest.update(block)
            size += len(block)
    except FileNotFoundError as error:
        raise UploadDamagedError("its bytes are missing") from error
    except OSError as error:
        if error.errno in _UNREADABLE:
            raise UploadUnreadableError(
                f"{error.strerror} after {size} bytes", hint="check the store's disk (dmesg)"
            ) from error
        raise
    return Content(sha256=digest.hexdigest(), size=size)
