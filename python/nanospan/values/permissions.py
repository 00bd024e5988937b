"""Give a file the owner, mode and access control list of the file that it will replace."""

from __future__ import annotations

import contextlib
import os
import stat

ACL = "system.posix_acl_access"


def adopt_permissions(descriptor: int, path: str, status: os.stat_result) -> None:
    """Give an open file the owner, group, mode and access control list of another file.

    What the process may not set is left as it is, and no user gains access by that: if the group
    cannot be kept, its rights are not given to the process's group.

    Args:
        descriptor: The open file.
        path: The path of the file whose permissions to adopt.
        status: The status of that file.
    """
    own = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode) & 0o777
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid) and not _give(descriptor, status):
        # To the old file, members of the new file's group were others.
        mode = mode & 0o707 | (mode & 0o007) << 3
    if not _adopt_acl(descriptor, path):
        # Without its list, the mode's group bits would be the group's rights, which may be fewer.
        mode &= 0o707
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        os.fchmod(descriptor, mode)


def _give(descriptor: int, status: os.stat_result) -> bool:
    """Set the owner and group, or else the group; return False if neither is permitted."""
    for owner in (status.st_uid, -1):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, owner, status.st_gid)
            return True
    return False


def _adopt_acl(descriptor: int, path: str) -> bool:
    """Copy the access control list, if any; return False if the file cannot have it."""
    wanted = _acl(path)
    if _acl(descriptor) != wanted:
        try:
            if wanted is None:  # a new file may have inherited a list from its folder
                os.removexattr(descriptor, ACL)
            else:
                os.setxattr(descriptor, ACL, wanted)
        except OSError:
            return False
    return True


def _acl(file: int | str) -> bytes | None:
    try:
        return os.getxattr(file, ACL)
    except OSError:  # it has none, or the file system knows none
        return None
