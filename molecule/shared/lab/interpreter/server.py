# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the lab's hosts, a Python that has Ansible's own part of each module imported, and forks for each module.

Three quarters of what a small module costs a host is the start of Python and those imports. A fork runs what a new
Python would: the script on the asking process's standard input, with its descriptors, environment and folder. What
was imported comes from the first archive that the controller sent; a module whose archive holds anything else of the
same names gets it from there.
"""

from __future__ import annotations

import atexit
import base64
import ctypes
import gc
import importlib
import os
import random
import re
import selectors
import socket
import struct
import sys
import threading
import traceback
import types
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

KEPT = "/var/cache/lab-python.zip"  # root's own
LOADER = "ansible.module_utils._internal._ansiballz._loader"
PIDFD_GETFD = 438  # the same number on each architecture
TAKEN = b"fork"  # from here on the client does not run Python itself

_libc = ctypes.CDLL(None, use_errno=True)


def _fetch(pidfd: int, number: int) -> int:
    """A descriptor of another process."""
    found: int = _libc.syscall(PIDFD_GETFD, pidfd, number, 0)
    if found < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return found


def _ours() -> dict[str, types.ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "ansible"}


def _member(module: types.ModuleType) -> str:
    """The name of a module's source in its archive; nothing for one that another module makes up, as six does."""
    return str(module.__spec__.origin).partition(f"{KEPT}/")[2] if module.__spec__ else ""


def preload() -> None:
    """Import what all modules share from the archive that was kept, once there is one."""
    sys.path.insert(0, KEPT)
    try:
        loader: Any = importlib.import_module(LOADER)
    except Exception:
        traceback.print_exc()
        for name in _ours():
            del sys.modules[name]
        return
    finally:
        sys.path.remove(KEPT)
    with zipfile.ZipFile(KEPT) as archive:
        checksums = {member.filename: member.CRC for member in archive.infolist()}
    plain = loader.run_module

    def run_module(*, modlib_path: str, **given: Any) -> None:
        with zipfile.ZipFile(modlib_path) as archive:
            sent = {member.filename: member.CRC for member in archive.infolist()}
        modules = _ours()
        members = {name: member for name, module in modules.items() if (member := _member(module))}
        if all(sent.get(member) == checksums[member] for member in members.values()):
            for name, member in members.items():
                if hasattr(modules[name], "__path__"):
                    modules[name].__path__ = [f"{modlib_path}/{os.path.dirname(member)}"]
            plain(modlib_path=modlib_path, **given)
        else:
            for name in modules:
                del sys.modules[name]
            importlib.import_module(LOADER).run_module(modlib_path=modlib_path, **given)

    loader.run_module = run_module


def keep(script: bytes) -> None:
    """Keep the archive in a script of Ansible's for all who come later."""
    found = re.search(rb"zip_data='([A-Za-z0-9+/=]+)'", script)
    if found and not os.path.exists(KEPT):
        part = f"{KEPT}.{os.getpid()}"
        with open(part, "wb") as file:
            file.write(base64.b64decode(found[1]))
        os.rename(part, KEPT)


def run(pid: int, descriptors: list[int]) -> None:
    """In a fork: become what ``/usr/bin/python3`` would be in the process ``pid``."""
    os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environb.clear()
    with open(f"/proc/{pid}/environ", "rb") as file:
        for pair in filter(None, file.read().split(b"\0")):
            name, _equals, value = pair.partition(b"=")
            os.environb[name] = value
    if not os.environ.get("LC_ALL") and (os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C") in ("C", "POSIX"):
        os.environ["LC_CTYPE"] = "C.UTF-8"  # as Python does (PEP 538)
    os.chdir(f"/proc/{pid}/cwd")
    os.chdir(os.getcwd())
    random.seed()
    sys.argv = [""]
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    script = bytes(sys.stdin.buffer.read())
    with suppress(OSError):
        keep(script)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    exec(compile(script, "<stdin>", "exec"), main.__dict__)


def end(action: Callable[..., None], *given: Any) -> NoReturn:
    """Do it, and end this fork as Python ends, but for taking apart what the server has imported."""
    code = 0
    try:
        action(*given)
    except SystemExit as err:
        code = err.code if isinstance(err.code, int) else int(err.code is not None)
        if code == 1 and not isinstance(err.code, int):
            print(err.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    # As Python does: threads first, such as one that ends a pool of processes, which waits for ever without its queues.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


def main() -> None:
    """Answer until systemd ends it."""
    listener = socket.socket(fileno=3)  # from systemd
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _events in waiting.select():
            if key.data is None:
                client = listener.accept()[0]
                try:
                    (pid,) = struct.unpack("i", client.recv(4))
                    handle = os.pidfd_open(pid)
                    descriptors = [_fetch(handle, number) for number in range(3)]
                    os.close(handle)
                except (OSError, struct.error):
                    traceback.print_exc()
                    client.close()
                    continue
                if os.path.exists(KEPT) and LOADER not in sys.modules:
                    preload()
                    gc.freeze()  # or each fork copies what it never uses, to look for garbage in it
                fork = os.fork()
                if fork == 0:
                    client.sendall(TAKEN)
                    waiting.close()
                    listener.close()
                    client.close()
                    end(run, pid, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                waiting.register(os.pidfd_open(fork), selectors.EVENT_READ, (fork, client))
            else:
                fork, client = key.data
                code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
                waiting.unregister(key.fileobj)
                os.close(key.fd)
                with suppress(OSError):
                    client.sendall(struct.pack("i", code if code >= 0 else 128 - code))
                client.close()


if __name__ == "__main__":
    main()
