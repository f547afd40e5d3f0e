"""The last step before a part's own program: sets what only the process itself can set, then execs.

Run by path, with `python -I -S`, and so with the standard library alone: it takes 20 ms. It stands
in for `preexec_fn`, which Python warns of in a process that has threads.

    launch.py '{"command": [...], "death_signal": 9, "parent": 4711, "user": 65534, "group": 65534}'
"""

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

ON_LINUX = sys.platform.startswith("linux")


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main() -> None:
    """Prepare this process as told and become the command."""
    wanted = json.loads(sys.argv[1])
    _reset_signals()
    if wanted["user"] is not None:
        _become(wanted["user"], wanted["group"])
    # After the change of user, which would clear it.
    if wanted["death_signal"]:
        _die_with(wanted["parent"], wanted["death_signal"])
    os.execvp(wanted["command"][0], wanted["command"])  # noqa: S606  # no shell is the point


def _reset_signals() -> None:
    # A parent under `nohup` or in a script's background ignores SIGINT; a Dagster process that
    # inherits that ignores SIGTERM too.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _become(user: int, group: int) -> None:
    libc = _libc() if ON_LINUX else None
    if libc:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setregid(group, group)
    os.setreuid(user, user)
    if libc:
        _keep_file_access(libc)


def _keep_file_access(libc: ctypes.CDLL) -> None:
    """Keep the one capability that lets this user reach a program below, say, /root.

    The alternative, opening up the folders above for everyone, outlives the process. Where the
    capability is not ours to keep, the folders' own permissions decide.
    """
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    data = (_CapabilityData * 2)(_CapabilityData(bit, bit, bit))
    if libc.capset(ctypes.byref(header), data) == 0:
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)
    else:
        libc.capset(ctypes.byref(header), (_CapabilityData * 2)())


def _die_with(parent: int, death_signal: int) -> None:
    if not ON_LINUX:
        return
    _libc().prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    # The parent may have died before the line above: then nobody will ever send the signal.
    if os.getppid() != parent:
        sys.exit(1)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    main()
