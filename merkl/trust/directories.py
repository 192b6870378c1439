"""Whether a directory is this user's own, as far as the system says.

It decides whose a directory is.  What follows from that is not its business.

The invariant: what somebody else may write into is never called one's own, whatever is in it.
"""

import os
import stat


def why_unsafe(path: str, *, or_root: bool = False) -> str:
    """Why what is in a directory may have been put there by somebody else; empty if that cannot be, or it is not there.

    With ``or_root`` it may be the system's.
    """
    try:
        known = os.stat(path)
    except OSError:
        return ""
    if not is_of_user(known.st_uid) and not (or_root and known.st_uid == 0):
        return f"belongs to {_user(known.st_uid)}"
    if known.st_mode & stat.S_IWOTH:
        return "can be written to by everybody"
    if known.st_mode & stat.S_IWGRP and not _is_private(known.st_gid, known.st_uid):
        return f"can be written to by the group {_group(known.st_gid)}"
    return ""


def is_of_user(uid: int) -> bool:
    """Whether what belongs to ``uid`` is this user's own: under ``sudo`` also what belongs to who called it."""
    user = os.geteuid()
    return uid == user or (user == 0 and str(uid) == os.environ.get("SUDO_UID"))


def _is_private(gid: int, uid: int) -> bool:
    """Whether a group is the one that many systems make for one user alone."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(uid)
    except KeyError:
        return gid == uid
    others = set(group.gr_mem) - {user.pw_name}
    return gid == user.pw_gid and not others and (group.gr_name == user.pw_name or gid == uid)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
