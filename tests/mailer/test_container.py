# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container that holds everything: built, stopped in the middle of its work, and started anew on its volume.

It needs podman and an image of the lab to build on, and some minutes, so it is part of the full tests alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import LONGEST, PATIENCE, ROOT
from .test_dkim import pem, rsa_key

pytestmark = pytest.mark.skipif(os.environ.get("MAIL_TEST_FULL") != "1", reason="long: MAIL_TEST_FULL=1 asks for it")

FILES = ROOT / "roles" / "mailer" / "files"
NAME = "pml-mailer-all"
# The way to the outside ends in this container: the network is none.
GLOBAL = "reliable-queue: {queue-names: {primary-queue: P0, default-queue: P1}}\nbackdata: {queue-name: EVENTS}\n"
CUSTOMER = """
receiver:
  bind: {inet-interface: 0.0.0.0, inet-port: 587}
  auth-logins: [{username: someuser, password: aDecentlyStrongPassword}]
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9091}
httpreceiver:
  auth-logins: [{username: someuser, password: aDecentlyStrongPassword}]
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9090}
transformer:
  domain-settings:
    - {domain: example.com, dkim-private-key-file: /configs/dkim-example.com.pem, return-path-domain: rp.example.com}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9092}
postfixlog:
  logfile: /var/log/mail.log
  postfix: {hostname: 0.0.0.0, port: 26}
  string-replacer:
    main-cf:
      myhostname: mxserver.example.com
      mailname: example.com
      relayhost: "[127.0.0.1]:2525"
      queue_run_delay: 2s
      minimal_backoff_time: 2s
      maximal_backoff_time: 2s
    master-cf: {smtpd-port: 26}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9093}
mxserver:
  bind: {inet-interface: 0.0.0.0, inet-port: 25}
  eml-directory: tmp
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9094}
backdata:
  post-url: http://127.0.0.1:8099/hook
  private-urls: true
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9095}
redis:
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9096}
"""
ORDER = [
    "http-receiver", "receiver", "transformer", "postfix", "postfix-daemon", "backdata", "mxserver", "redis",
    "redis-server",
]  # fmt: skip


class Engine:
    """Podman, as the lab uses it."""

    def __init__(self, program: str) -> None:
        self._program = program
        settings = ROOT / ".cache" / "lab" / "containers.conf"
        self._env = {**os.environ, **({"CONTAINERS_CONF": str(settings)} if settings.exists() else {})}

    def __call__(self, *words: str, check: bool = True, timeout: float = LONGEST) -> str:
        done = subprocess.run(
            [self._program, *words],
            env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def base(self) -> str | None:
        """The newest image that the lab has made of Debian."""
        found = self("images", "--format", "{{.Repository}}:{{.Tag}}", check=False).split()
        return next((one for one in found if "/pml-root-" in one), None)


def until(condition: Callable[[], bool], what: Callable[[], object], seconds: float = 2 * PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)


@pytest.fixture
def engine() -> Iterator[Engine]:
    program = shutil.which("podman")
    if program is None:
        pytest.skip("no podman here")
    engine = Engine(program)
    yield engine
    engine("rm", "--force", "--time", "0", NAME, check=False)
    engine("volume", "rm", "--force", NAME, check=False)


@pytest.fixture
def image(engine: Engine) -> str:
    base = engine.base()
    if base is None:
        pytest.skip("no image of the lab to build on: ./dev test molecule makes one")
    words = ["build", "--network", "host", "--build-arg", f"BASE={base}", "--tag", f"{NAME}:test"]
    certificates = os.environ.get("PIP_CERT")
    if certificates:
        words += ["--volume", f"{certificates}:/run/certificates:ro", "--build-arg", "PIP_CERT=/run/certificates"]
    engine(*words, "--file", str(FILES / "container" / "Containerfile"), str(FILES), timeout=1800)
    return f"{NAME}:test"


def test_a_stop_in_the_middle_loses_nothing(engine: Engine, image: str, tmp_path: Path) -> None:
    configs, out = tmp_path / "configs", tmp_path / "out"
    for folder in (configs, out):
        folder.mkdir()
    (configs / "inboxbooster-mailer-global.yaml").write_text(GLOBAL)
    (configs / "inboxbooster-mailer-customer.yaml").write_text(CUSTOMER)
    (configs / "dkim-example.com.pem").write_bytes(pem(rsa_key()))
    mounted = [f"{configs}:/configs:ro", f"{out}:/out", f"{NAME}:/var/lib/postmaster-mailer"]
    mounted.append(f"{Path(__file__).parent / 'container'}:/tests:ro")
    volumes = [word for one in mounted for word in ("--volume", one)]

    def start() -> None:
        engine("rm", "--force", "--time", "0", NAME, check=False)
        engine("run", "--detach", "--name", NAME, "--hostname", "mailer", "--network", "none", *volumes, image)
        engine("exec", "--detach", NAME, "python3", "/tests/world.py")

    def accepted() -> set[str]:
        path = out / "accepted"
        return set(path.read_text().split()) if path.exists() else set()

    def delivered() -> Counter[str]:
        mails = [path.read_text() for path in out.glob("mail-*") if path.suffix != ".new"]
        return Counter(found[1] for mail in mails if (found := re.search(r"^Message-ID: <(\w+)@", mail, re.M)))

    def told() -> Counter[str]:
        batches = [json.loads(path.read_text()) for path in out.glob("event-*") if path.suffix != ".new"]
        return Counter(event["uuid"] for batch in batches for event in batch if event["event"] == "delivered")

    def said() -> str:
        return engine("logs", "--tail", "60", NAME, check=False)

    start()
    engine("exec", "--detach", NAME, "python3", "/tests/application.py")
    until(lambda: len(delivered()) > 20, said)
    # Nobody takes mail outside, so that some of it is everywhere when the stop comes.
    engine(
        "exec",
        NAME,
        "sh",
        "-c",
        "kill $(grep -l world.py /proc/[0-9]*/cmdline | cut -d/ -f3 | grep -vx $$)",
        check=False,
    )
    before = len(accepted())
    until(lambda: len(accepted()) > before + 50, said)
    engine("stop", "--time", "240", NAME, timeout=300)
    log = engine("logs", NAME)
    assert re.findall(r"(?:INFO|WARN) stopped: (\S+)", log) == ORDER
    assert engine("inspect", NAME, "--format", "{{.State.ExitCode}}").split()[-1] == "0"
    assert accepted() - delivered().keys(), "all was delivered before the stop: it shows nothing"
    start()
    until(lambda: accepted() <= delivered().keys(), said)
    until(lambda: accepted() <= told().keys(), said)
    assert set(delivered().values()) == set(told().values()) == {1}
    assert "EVENTS-post" in engine("exec", NAME, "mailer", "ctl", "status")
