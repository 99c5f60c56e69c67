"""Small files that nobody but their owner may read: the token, keys, the node's address.

Read by the rules of the node itself: not through a link, not if they belong to somebody else, and
not if others could have read or written them.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from core.sovereign.errors import PrivateFileError

__all__ = ["read_private", "refuse_open", "write_atomically"]


def refuse_open(path: Path, status: os.stat_result) -> None:
    """Refuses what belongs to somebody else, or what others have access to.

    Raises:
        PrivateFileError: The text has the remedy.
    """
    if status.st_uid != os.geteuid():
        raise PrivateFileError(
            f"{path} belongs to user {status.st_uid}, not to the user of this process"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        remedy = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise PrivateFileError(
            f"{path} is open to others (mode {mode:04o}); run: chmod {remedy} {path}"
        )


def read_private(path: Path, bytes_max: int) -> bytes:
    """The content of a private file of at most ``bytes_max`` bytes.

    Raises:
        PrivateFileError: It is not there, not private, not a regular file, or larger.
    """
    try:
        # Not through a link, and without waiting if somebody put a pipe there.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PrivateFileError(f"{path} is a link, which is not followed") from error
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise PrivateFileError(f"{path}: {error.strerror}", absent=absent) from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        refuse_open(path, status)
        content = file.read(bytes_max + 1) if stat.S_ISREG(status.st_mode) else None
    if content is None or len(content) > bytes_max:
        raise PrivateFileError(f"{path} is not a regular file of at most {bytes_max} bytes")
    return content


def write_atomically(path: Path, content: bytes) -> None:
    """Puts a file in place (mode 0600) so that a crash leaves the old one or the new one.

    Raises:
        OSError: It could not be written; what was there is there still.
    """
    temporary = path.with_name(f".tmp-{os.urandom(8).hex()}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
