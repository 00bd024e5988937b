"""Tests for keeping the owner, mode and access control list of a file that is replaced."""

import os
import stat
import struct

import pytest

from nanospan.values.files import write_atomically
from nanospan.values.permissions import ACL


def acl(*entries):
    """Encode an access control list: tuples of tag, permissions and identifier."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


USER_OBJ, USER, GROUP_OBJ, MASK, OTHER, UNNAMED = 1, 2, 4, 16, 32, 0xFFFFFFFF


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_and_group_are_kept(tmp_path, kind):
    """A file that belongs to another user and group still does after it was replaced."""
    path = tmp_path / "out"
    path.touch()
    path.chmod(0o640)
    os.chown(path, 12345, 23456)
    write_atomically(path, "x")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 23456, 0o640)


@pytest.mark.parametrize(("before", "after"), [(0o660, 0o600), (0o664, 0o644), (0o604, 0o644)])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_group_gets_no_rights(tmp_path, monkeypatch, before, after):
    """If the group cannot be kept, the process's group gets the rights that others have."""
    path = tmp_path / "out"
    path.touch()
    path.chmod(before)
    os.chown(path, -1, 23456)

    def denied(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", denied)
    write_atomically(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == after


def test_an_access_control_list_is_kept(tmp_path, kind, monkeypatch):
    """The access control list is kept; where that fails, its mask does not become group rights."""
    path = tmp_path / "out"
    path.touch()
    entries = [
        (USER_OBJ, 6, UNNAMED),
        (USER, 6, 12345),
        (GROUP_OBJ, 0, UNNAMED),
        (MASK, 6, UNNAMED),
    ]
    wanted = acl(*entries, (MASK, 6, UNNAMED), (OTHER, 0, UNNAMED))
    try:
        os.setxattr(path, ACL, wanted)
    except OSError:
        pytest.skip("the file system has no access control lists")
    write_atomically(path, "x")
    assert os.getxattr(path, ACL) == wanted
    assert stat.S_IMODE(path.stat().st_mode) == 0o660

    def denied(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", denied)
    write_atomically(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_folders_default_list_is_not_added(tmp_path, kind):
    """A file without an access control list does not get its folder's default one."""
    path = tmp_path / "out"
    path.touch()
    path.chmod(0o600)
    entries = [(USER_OBJ, 7, UNNAMED), (USER, 7, 12345), (GROUP_OBJ, 7, UNNAMED)]
    try:
        default = acl(*entries, (MASK, 7, UNNAMED), (OTHER, 0, UNNAMED))
        os.setxattr(tmp_path, "system.posix_acl_default", default)
    except OSError:
        pytest.skip("the file system has no access control lists")
    write_atomically(path, "x")
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(path, ACL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
