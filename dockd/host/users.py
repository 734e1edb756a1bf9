"""Checks run as the service's user, as root may read more than that user."""

import os
import pickle
import pwd
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_NOBODY = 65534


def can_be(uid: int) -> bool:
    """Return whether this process is that user, or can become it."""
    return os.geteuid() in {0, uid}


def as_user(uid: int, look: Callable[[], T]) -> T:
    """Return a function's result as that user, from a child process if necessary.

    Only root can become another user; other users call it as themselves.

    Raises:
        Exception: what the function has raised.
    """
    if os.geteuid() != 0 or uid == 0:
        return look()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(uid, look, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    is_result, value = pickle.loads(answer)  # noqa: S301  # from this process's own child
    if not is_result:
        raise value
    result: T = value
    return result


def _answer(uid: int, look: Callable[[], T], writing: int) -> None:
    """Call the function as that user, in the child process, which ends here."""
    try:
        try:
            _become(uid)
            answer = pickle.dumps((True, look()))
        except Exception as error:  # noqa: BLE001  # raised in the parent
            answer = pickle.dumps((False, error))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _become(uid: int) -> None:
    try:
        user = pwd.getpwuid(uid)
        group, groups = user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        group, groups = _NOBODY, []
    os.setgroups(groups)
    os.setresgid(group, group, group)
    os.setresuid(uid, uid, uid)


def unreadable(path: os.PathLike[str]) -> OSError | None:
    """Return why a file can't be read; None if it can."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error
    return None
