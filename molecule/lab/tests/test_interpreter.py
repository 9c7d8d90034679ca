# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that forks for modules does what /usr/bin/python3 does in its place, with the code it was sent."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from lab.plays import play
from lab.probe import Lab

PYTHON, FORKING = "/usr/bin/python3", "/usr/local/bin/lab-python"
HOSTS = ("relay1", "relay2")  # one of each release
PING = """\
- hosts: {host}
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
      register: said
    - ansible.builtin.debug:
        var: said.ping
"""
SPOIL = """\
import zipfile
with zipfile.ZipFile("/var/cache/lab-python.zip") as old, zipfile.ZipFile("/var/cache/new.zip", "w") as new:
    for name in old.namelist():
        more = b"\\nAnsibleModule.exit_json = None\\n" if name.endswith("/basic.py") else b""
        new.writestr(name, old.read(name) + more)
"""
SCRIPTS = {
    "what it sees": "import os, sys; print(sys.argv, __name__, sys.executable, os.getcwd(), os.umask(0), os.getuid(),"
    " os.environ['SHOWN'], os.environ['LC_CTYPE'], sys.stdin.read() == '', sys.stdout.encoding, sys.path[1:])",
    "how it stands to signals": "import signal; print([(s.name, str(signal.getsignal(s)))"
    " for s in signal.valid_signals() if isinstance(s, signal.Signals)], signal.pthread_sigmask(signal.SIG_BLOCK, ()))",
    "what is said at the end": "import atexit; atexit.register(print, 'last'); print('first')",
    "a code": "import sys; sys.exit(3)",
    "a sentence": "import sys; sys.exit('that was it')",
    "an exception": "raise ValueError('bad')",
    "a signal": "import os; os.kill(os.getpid(), 9)",
    "bytes": "import sys; sys.stdout.buffer.write(bytes(range(256))); sys.stderr.write('\\xfc')",
    "text": "print('\\xfc\\u20ac')",
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_does_as_python_does(lab: Lab, host: str, name: str) -> None:
    said = []
    for program in (PYTHON, FORKING):
        command = f"cd /srv && (SHOWN=yes sh -c '{program} && sleep 0'; echo code $?) 2>/tmp/errors | base64 -w0"
        out = lab.run(host, command, input=SCRIPTS[name]).stdout
        # Where it stands in a file is all that may differ.
        errors = lab.run(host, "grep -v -e '^ ' -e Traceback -e Killed /tmp/errors | base64 -w0").stdout
        said.append((base64.b64decode(out), base64.b64decode(errors)))
    assert said[0] == said[1]
    assert b"code" in said[0][0]


@pytest.mark.parametrize("host", HOSTS)
def test_others_get_python_itself(lab: Lab, host: str) -> None:
    assert lab.run(host, f"runuser -u nobody -- {FORKING} < /dev/null; {FORKING} -c 'print(7)'").stdout == "7\n"
    lab.run(host, "systemctl stop lab-python.socket lab-python.service")
    assert lab.run(host, f"echo 'print(7)' | {FORKING}; systemctl start lab-python.socket").stdout == "7\n"


@pytest.mark.parametrize("host", HOSTS)
def test_a_module_runs_with_the_code_it_was_sent(lab: Lab, host: str, tmp_path: Path) -> None:
    """Of what was kept, one function is spoilt: who used it would see."""
    playbook = tmp_path / "ping.yml"
    playbook.write_text(PING.format(host=host))
    extra = {"ansible_python_interpreter": FORKING}
    play(lab, playbook, inventories=[], extra=extra)
    lab.run(host, PYTHON, input=SPOIL)
    lab.run(host, "mv /var/cache/new.zip /var/cache/lab-python.zip && systemctl stop lab-python")
    try:
        assert "pong" in play(lab, playbook, inventories=[], extra=extra).output
    finally:
        lab.run(host, "rm /var/cache/lab-python.zip && systemctl stop lab-python")
