# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of Redis on loopback that replicate, watch each other, or make up a cluster; each is a process to be killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import RedisError, ResponseError

from .conftest import PATIENCE, ROOT, reserved


def program() -> str:
    """The server's program; without one the test is skipped."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        pytest.skip("no redis-server here")
    return found


USER = {"username": "mailer", "password": "hunter2"}


def documented_user(*, cluster: bool = False, sentinel: bool = False) -> list[str]:
    """The user that the guide gives, as a server's options."""
    text = (ROOT / "docs" / "mailer.md").read_text().partition("### A user of its own")[2].partition("\n## ")[0]
    rules = text.partition("```\n")[2].partition("```")[0].replace("\\\n", " ")
    if cluster:
        rules += re.findall(r"for a cluster also `([^`]+)`", text)[0]
    if sentinel:
        rules = re.findall(r"On sentinels: `([^`]+)`", text)[0]
    return ["--user", *rules.replace("PASSWORD", USER["password"]).split()[1:]]


def of_the_role(kind: str) -> dict[str, Any]:
    """A section that the role mailer writes, as its own tests see it."""
    sections = json.loads((Path(__file__).parent / "redis_of_the_role.json").read_text())
    found: dict[str, Any] = sections[kind]
    return found


def as_the_role_writes_it(kind: str, nodes: Sequence[Node], certificate: Path | None = None) -> dict[str, Any]:
    """The same, with these servers, their password and their certificate in it."""
    way = of_the_role(kind)
    password = nodes[0].folder.parent / "password"
    password.write_text(USER["password"] + "\n")
    files = {key: str(password) for key, value in way.items() if key.endswith("password-file") and value}
    files |= {key: str(certificate) for key, value in way.items() if key.startswith("tls-") and value}
    return {**way, **files, kind.partition("_")[0]: [one.place for one in nodes]}


def with_tls(certificate: Path) -> list[str]:
    """A server's options: one file has its certificate, its key, and what it trusts."""
    return [word for name in ("cert", "key", "ca-cert") for word in (f"--tls-{name}-file", str(certificate))]


def free_port() -> int:
    """A port that nobody listens on, nor on the one 10,000 above it, which a server of a cluster takes, too."""
    while True:
        port = reserved()
        with contextlib.suppress(OSError, OverflowError):
            reserved(port + 10_000)
            return port


def until(condition: Callable[[], object], what: object = "", seconds: float = PATIENCE) -> None:
    """Wait for it; an error of Redis means not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(RedisError, OSError):
            if condition():
                return
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)


def caught_up(primary: Node, replicas: int = 1) -> bool:
    """Whether its replicas have all, on disk where the server can tell: after a full copy that takes a while."""
    one = primary.client(single_connection_client=True)
    one.set("caught up", 1)
    try:
        return bool(one.execute_command("WAITAOF", 0, replicas, 100)[1] == replicas)
    except ResponseError:  # before Redis 7.2
        return bool(one.wait(replicas, 100) == replicas)


class Node:
    """A server, with a folder and a port for as long as the test lasts."""

    def __init__(self, folder: Path, *options: str, certificate: Path | None = None) -> None:
        self.folder, self.port = folder, free_port()
        self._options, self._certificate = [*options, *(with_tls(certificate) if certificate else [])], certificate
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    @property
    def place(self) -> str:
        """As the configuration names it."""
        return f"127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Redis:
        """A connection of the test's own, as the server's administrator."""
        if self._certificate:
            pem = str(self._certificate)
            options |= {"ssl": True, "ssl_ca_certs": pem, "ssl_certfile": pem}
        return Redis(port=self.port, socket_timeout=30, **options)

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        words = ["--dir", str(self.folder), "--logfile", str(self.folder / "log"), "--bind", "127.0.0.1"]
        words += ["--port", "0", "--tls-port", str(self.port)] if self._certificate else ["--port", str(self.port)]
        self.run([program(), *self._configuration(), *words, *self._options, *options])
        until(lambda: self.client().ping(), self.log)

    def _configuration(self) -> list[str]:
        return [
            "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0",
        ]  # fmt: skip

    def run(self, words: list[str]) -> None:
        """Run it."""
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def log(self) -> str:
        """What it said last."""
        file = self.folder / "log"
        return f"{self.port}: " + file.read_text()[-2000:] if file.exists() else "no log"

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP makes it lag, SIGCONT lets it go on."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    end = kill

    def denied(self) -> set[str]:
        """What the mailer's user was not allowed."""
        return {f"{one['reason']} {one['object']}" for one in self.client().acl_log() if one["username"] == "mailer"}

    def info(self, section: str) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = self.client().info(section)
        return found


class SentinelNode(Node):
    """A sentinel, which keeps what it knows in a file of its own."""

    def watch(self, primary: Node, *, quorum: int) -> None:
        """Begin to watch."""
        (self.folder / "sentinel.conf").write_text(
            f"sentinel monitor mailer 127.0.0.1 {primary.port} {quorum}\n"
            "sentinel down-after-milliseconds mailer 1000\nsentinel failover-timeout mailer 5000\n"
        )
        self.start()

    def _configuration(self) -> list[str]:
        return [str(self.folder / "sentinel.conf"), "--sentinel"]


class Replicated:
    """A primary, two replicas, and three sentinels that watch them."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.nodes = [Node(folder / f"redis{number}", *options, *documented_user()) for number in range(3)]
        user = documented_user(sentinel=True)
        self.sentinels = [SentinelNode(folder / f"sentinel{number}", *user) for number in range(3)]

    @property
    def where(self) -> dict[str, Any]:
        """What the configuration says of it."""
        return as_the_role_writes_it("sentinels", self.sentinels)

    def start(self) -> None:
        """Start all of it, and wait until each knows the others."""
        primary, *replicas = self.nodes
        for one in self.nodes:
            one.start()
        for one in replicas:
            one.client().replicaof("127.0.0.1", primary.port)
        until(lambda: caught_up(primary, 2), primary.log)
        for sentinel in self.sentinels:
            sentinel.watch(primary, quorum=2)
        until(lambda: all(self._knows(one) for one in self.sentinels), self.sentinels[0].log)

    @staticmethod
    def _knows(sentinel: SentinelNode) -> bool:
        state = sentinel.client().sentinel_master("mailer")
        return bool(state["num-slaves"] == 2 and state["num-other-sentinels"] == 2)

    def primary(self) -> Node:
        """The one that most sentinels take for the primary."""
        ports = sorted(int(one.client().sentinel_get_master_addr_by_name("mailer")[1]) for one in self.sentinels)
        return next(one for one in self.nodes if one.port == ports[1])

    def replicas(self) -> list[Node]:
        """The others."""
        primary = self.primary()
        return [one for one in self.nodes if one is not primary]

    def fail_over(self) -> None:
        """Kill the primary, and wait for another one that has a replica; then the one that was is back as a replica."""
        self._replace(self.primary(), [])

    def fail_over_with_a_lag(self) -> None:
        """The same, while one replica has stood still since long before; it goes on when the other is the primary."""
        old, (one, dummy) = self.primary(), self.replicas()
        one.signal(signal.SIGSTOP)
        written = old.info("replication")["master_repl_offset"]
        until(lambda: old.info("replication")["master_repl_offset"] > written + 100_000, old.log)
        self._replace(old, [one])

    def _replace(self, old: Node, lagging: Sequence[Node]) -> None:
        old.kill()
        until(lambda: self.primary() is not old, self.log)
        for one in lagging:
            assert self.primary() is not one
            one.signal(signal.SIGCONT)
        until(lambda: self.primary().info("replication")["connected_slaves"] == 1, self.log)
        old.start()
        until(lambda: old.info("replication")["role"] == "slave", self.log)
        until(lambda: old.info("replication")["master_link_status"] == "up", self.log)
        until(lambda: all(self._knows(one) for one in self.sentinels), self.log)

    def forsake(self) -> None:
        """Kill the primary while the replicas are dead; then they are back with what they had, and one is the primary."""
        old = self.primary()
        old.kill()
        for one in self.nodes:
            if one is not old:
                one.start("--replicaof", f"127.0.0.1 {old.port}")
        until(lambda: (new := self.primary()) is not old and new.info("replication")["connected_slaves"] == 1, self.log)

    def log(self) -> str:
        """What all say."""
        return "\n".join(one.log() for one in (*self.sentinels, *self.nodes))

    def client(self) -> Redis:
        """The primary."""
        return self.primary().client()

    def end(self) -> None:
        """End all of it."""
        for one in (*self.sentinels, *self.nodes):
            one.kill()


class ClusterNodes:
    """A cluster of three primaries with a replica each. With a certificate all of them speak TLS alone."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--cluster-require-full-coverage",
            "no",
            *documented_user(cluster=True),
            *(("--tls-cluster", "yes", "--tls-replication", "yes") if certificate else ()),
        ]
        self._certificate = certificate
        self.nodes = [Node(folder / f"node{number}", *options, certificate=certificate) for number in range(6)]

    @property
    def where(self) -> dict[str, Any]:
        """What the configuration says of it."""
        kind = "cluster_tls" if self._certificate else "cluster"
        return as_the_role_writes_it(kind, self.nodes[:3], self._certificate)

    def start(self) -> None:
        """Start all of it, and wait until each knows the others."""
        for one in self.nodes:
            one.start()
        first, *others = self.nodes
        for number, one in enumerate(self.nodes[:3]):
            one.client().cluster("ADDSLOTSRANGE", number * 5461, 16383 if number == 2 else number * 5461 + 5460)
            one.client().cluster("SET-CONFIG-EPOCH", number + 1)
        for one in others:
            first.client().cluster("MEET", "127.0.0.1", one.port)
        until(lambda: all(len(one.client().cluster("NODES")) == 6 for one in self.nodes), first.log)
        for primary, replica in zip(self.nodes[:3], self.nodes[3:], strict=True):
            until(lambda: replica.client().cluster("REPLICATE", primary.client().cluster("MYID").decode()), replica.log)  # noqa: B023
        until(self.whole, first.log)

    def whole(self) -> bool:
        """Whether every primary has a replica, and all agree."""
        roles = [one.info("replication") for one in self.nodes]
        return (
            sum(one["role"] == "master" and one["connected_slaves"] == 1 for one in roles) == 3
            and all(one["master_link_status"] == "up" for one in roles if one["role"] == "slave")
            and all(one.client().cluster("INFO")["cluster_state"] == "ok" for one in self.nodes)
        )

    def of(self, key: str) -> Node:
        """The primary that has a key."""
        port = self.client().get_node_from_key(key).port
        return next(one for one in self.nodes if one.port == port)

    def fail_over(self, key: str) -> None:
        """Kill the primary that has a key, and wait for another one; then the one that was is back as a replica."""
        old = self.of(key)
        old.kill()
        until(lambda: self.of(key) is not old, self.log)
        old.start()
        until(self.whole, self.log)

    def log(self) -> str:
        """What all say."""
        return "\n".join(one.log() for one in self.nodes)

    def client(self) -> RedisCluster:
        """All of it."""
        return RedisCluster(
            startup_nodes=[ClusterNode("127.0.0.1", one.port) for one in self.nodes if one.process],
            require_full_coverage=False,
        )

    def end(self) -> None:
        """End all of it."""
        for one in self.nodes:
            one.kill()


@contextlib.contextmanager
def running(servers: Any) -> Iterator[Any]:
    """Start servers, and end them whatever happens."""
    try:
        servers.start()
        yield servers
    finally:
        for one in getattr(servers, "nodes", [servers]):
            with contextlib.suppress(Exception):
                one.signal(signal.SIGCONT)
        servers.end()
