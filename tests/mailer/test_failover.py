# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue on several servers of Redis, one of which is killed in mid-run: by Sentinel, and in a cluster.

Everything is a process of its own on loopback: servers, sentinels, stages. Postfix alone is a fake.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from postmaster_mailer.config import Redis as Where
from postmaster_mailer.config import parse
from postmaster_mailer.connect import redis_of
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import Move, Queue, QueueError, Taken, partition_of, stream_key
from postmaster_mailer.worker import Reading, Worker
from redis.asyncio import Redis as AsyncRedis

from .conftest import PATIENCE
from .nodes import USER, ClusterNodes, Node, Replicated, caught_up, documented_user, of_the_role, running
from .nodes import until as wait_until
from .stages import PACKAGE, Application, Estate
from .test_stages import run, until

STAGES = ("receiver", "transformer", "postfix")


async def lossless(*estates: Estate, fail_over: Sequence[Callable[[], None]]) -> str:
    """Mail comes in while servers fail over; all that got a yes arrives, and is told of. A sentence of it."""
    for estate in estates:
        await estate.postfix.start()
        estate.start(*STAGES)
    taken: set[str] = set()
    over = asyncio.Event()

    def delivered() -> Counter[str]:
        return sum((estate.postfix.delivered for estate in estates), Counter())

    def handed_over() -> set[str]:
        return {one.partition(" ")[0] for one in delivered()}

    def said() -> str:
        return "\n".join(estate.said() for estate in estates)

    async def feed(lane: int) -> None:
        app = Application(estates[lane % len(estates)].smtp)
        for number in itertools.count():
            if over.is_set():
                return
            assert (await app.send(f"l{lane}n{number}", "b@example.com"))[:3] == "250"
            taken.add(f"l{lane}n{number}")
            await asyncio.sleep(0.02)

    feeding = [asyncio.create_task(feed(lane)) for lane in range(6)]
    for once in fail_over:
        before = len(delivered())
        await until(lambda: len(delivered()) > before + 20, said)  # noqa: B023
        while not taken - handed_over():  # something is on its way
            await asyncio.sleep(0.001)
        await asyncio.to_thread(once)
    before = len(taken)
    await until(lambda: len(taken) > before + 20, said)  # it goes on
    over.set()
    await asyncio.gather(*feeding)
    await until(lambda: taken <= handed_over(), lambda: (taken - handed_over(), said()))
    told = estates[0].told
    await until(lambda: taken <= {one["uuid"] for one in told()}, lambda: ("not all is told", said()))
    nodes = estates[0].redis.nodes  # type: ignore[attr-defined]
    assert [one.denied() for one in nodes] == [set()] * len(nodes)
    assert all(estate.postfix.delivered for estate in estates)
    twice = delivered().total() - len(delivered())
    return f"{len(taken)} messages, {len(fail_over)} failovers, {twice} more than once"


@contextlib.contextmanager
def mailer(folder: Path, servers: Any, *, host: str = "", **queue: Any) -> Iterator[Estate]:
    """A mailer on these servers, whose stages end with the test."""
    estate = Estate(
        folder, servers, host=host, **{"reliable-queue": {name.replace("_", "-"): is_ for name, is_ in queue.items()}}
    )
    try:
        yield estate
    finally:
        estate.end()


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def replicated(tmp_path: Path) -> Any:
    options = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
    with running(Replicated(tmp_path, *options)) as servers:
        yield servers


@pytest.fixture
def estate(tmp_path: Path, replicated: Replicated) -> Any:
    with mailer(tmp_path, replicated, replicas=1, replicas_wait=1.0) as one:
        yield one


def test_nothing_is_lost_by_a_failover(estate: Estate, replicated: Replicated, tmp_path: Path) -> None:
    """Two hosts share the servers. At the second failover one of the replicas lags behind."""

    async def go(other: Estate) -> None:
        print(await lossless(estate, other, fail_over=[replicated.fail_over, replicated.fail_over_with_a_lag]))

    (tmp_path / "other").mkdir()
    with mailer(tmp_path / "other", replicated, host="other", replicas=1, replicas_wait=1.0) as other:
        run(go(other))


def test_no_yes_while_the_replicas_lag(estate: Estate, replicated: Replicated) -> None:
    """Who asks again gets no yes either, whichever connection the question takes; one replica that has it is enough."""

    async def go() -> None:
        await estate.postfix.start()
        estate.start("receiver")
        app = Application(estate.smtp)
        assert await app.send("u0", "b@example.com") == "250 2.0.0 u0 is queued"
        one, other = replicated.replicas()
        for replica in (one, other):
            replica.signal(signal.SIGSTOP)
        replies = [await app.once("u1", "b@example.com"), await app.once("u1", "b@example.com")]
        estate.kill("receiver")
        estate.start("receiver")
        await until(lambda: listening(estate.smtp), estate.said)
        replies.append(await app.once("u1", "b@example.com"))
        assert {reply[:3] for reply in replies} == {"451"}, replies
        one.signal(signal.SIGCONT)
        assert await app.send("u1", "b@example.com") == "250 2.0.0 u1 is queued"
        # Only that one has it, and becomes the primary.
        old = replicated.primary()
        old.kill()
        await asyncio.to_thread(wait_until, lambda: replicated.primary() is one, replicated.log)
        other.signal(signal.SIGCONT)
        estate.start("transformer", "postfix")
        await until(lambda: len(estate.postfix.delivered) == 2, estate.said)
        assert estate.postfix.delivered == {"u0 b@example.com": 1, "u1 b@example.com": 1}

    run(go())


@pytest.mark.parametrize("replicas", [0, 1])
def test_what_no_replica_has_is_lost_by_a_failover(tmp_path: Path, replicas: int) -> None:
    """So nobody is told yes before one has it; with ``replicas: 0`` he is."""

    async def go(servers: Replicated, estate: Estate) -> None:
        await estate.postfix.start()
        estate.start("receiver")
        app = Application(estate.smtp)
        assert await app.send("u0", "b@example.com") == "250 2.0.0 u0 is queued"
        await until(lambda: servers.client().wait(2, 100) == 2, servers.log)
        for one in servers.replicas():
            one.kill()
        assert (await app.once("u1", "b@example.com"))[:3] == ("451" if replicas else "250")
        await asyncio.to_thread(servers.forsake)
        keys = [key for part in range(2) for key in servers.client().scan_iter(stream_key(part, "message:*"))]
        assert [key.decode().rpartition(":")[2] for key in keys] == ["u0"]
        # He who got no yes tries again.
        assert await app.send("u1", "b@example.com") == "250 2.0.0 u1 is queued"

    with running(Replicated(tmp_path)) as servers:
        with mailer(tmp_path, servers, replicas=replicas, replicas_wait=1.0) as estate:
            run(go(servers, estate))


@pytest.mark.parametrize("appended", ["yes", "no"])
def test_replicas_have_it_on_disk_where_that_is_asked_for(tmp_path: Path, appended: str) -> None:
    """By WAITAOF, which Redis has since 7.2 and Valkey has; with one before nothing is said yes to."""

    async def go(primary: Node) -> None:
        known = "waitaof" in {name.lower() for name in primary.client(decode_responses=True).command()}
        given = known and appended == "yes"
        wait = PATIENCE if given else 3
        queue = Queue(AsyncRedis(port=primary.port), partitions=2, replicas=1, wait=wait, disk=True)
        await queue.prepare(["default"])
        one = Envelope("u1", ("b@example.com",))
        if given:
            assert await queue.add("default", one, b"m")
        else:
            said = "it reached 0 of 1 replicas in time" if known else "unknown command 'WAITAOF'"
            with pytest.raises(QueueError, match=said):
                await queue.add("default", one, b"m")
        # In memory it has it all the same.
        queue = Queue(queue.redis, partitions=2, replicas=1, wait=PATIENCE)
        assert await queue.add("default", one, b"m") is False
        await queue.redis.aclose()

    with running(Node(tmp_path / "primary")) as primary:
        with running(Node(tmp_path / "replica", "--replicaof", f"127.0.0.1 {primary.port}")) as replica:
            wait_until(lambda: caught_up(primary), replica.log)
            replica.client().config_set("appendonly", appended)
            run(go(primary))


def test_another_connection_is_told_no_either(tmp_path: Path) -> None:
    """WAIT is for what its connection wrote: that of a message which is known already must have written, too."""

    async def go(primary: Node, replica: Node) -> None:
        queues = [
            Queue(AsyncRedis(port=primary.port), partitions=2, replicas=1, wait=wait) for wait in (0.3, 0.3, PATIENCE)
        ]
        one = Envelope("u1", ("b@example.com",))
        replica.signal(signal.SIGSTOP)
        for queue in queues[:2]:
            with pytest.raises(QueueError, match="it reached 0 of 1 replicas in time"):
                await queue.add("default", one, b"m")
        replica.signal(signal.SIGCONT)
        assert await queues[2].add("default", one, b"m") is False
        for queue in queues:
            await queue.redis.aclose()

    with running(Node(tmp_path / "primary")) as primary:
        with running(Node(tmp_path / "replica", "--replicaof", f"127.0.0.1 {primary.port}")) as replica:
            wait_until(lambda: caught_up(primary), replica.log)
            run(go(primary, replica))


def test_a_group_that_is_gone_is_made_again(tmp_path: Path) -> None:
    """As it is where the primary died before a replica had heard of the group."""

    async def go(node: Node) -> None:
        queue = Queue(AsyncRedis(port=node.port), partitions=2)
        found: list[str] = []

        async def work(entries: Sequence[Taken]) -> None:
            found.extend(one.envelope.uuid for one in entries)
            await queue.move([Move(one) for one in entries])

        worker = Worker(queue, Reading(("default",), "one", block=0.05), work)
        working = asyncio.create_task(worker.run())
        for uuid in ("u1", "u2"):
            await queue.add("default", Envelope(uuid, ("b@example.com",)), b"m")
            await until(lambda: uuid in found, lambda: found)  # noqa: B023
            node.client().flushall()
        worker.stop()
        await working
        await queue.redis.aclose()

    with running(Node(tmp_path / "redis")) as node:
        run(go(node))


# -- a cluster ---------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    with running(ClusterNodes(tmp_path)) as servers:
        yield servers


def test_nothing_is_lost_by_a_failover_in_a_cluster(tmp_path: Path, cluster: ClusterNodes) -> None:
    async def go() -> None:
        print(await lossless(estate, fail_over=2 * [lambda: cluster.fail_over(stream_key(0, "default"))]))
        held = {cluster.of(stream_key(part, "default")).port for part in range(4)}
        assert len(held) == 3  # each server had a share
        status = await asyncio.to_thread(ctl, estate, "status")
        assert (status.returncode, status.stderr) == (0, ""), status
        trace = await asyncio.to_thread(ctl, estate, "trace", "l0n0")
        assert (trace.returncode, "handed over" in trace.stdout) == (0, True), trace

    with mailer(tmp_path, cluster, replicas=1, replicas_wait=1.0, partitions=4) as estate:
        run(go())


def test_what_lies_on_other_servers_goes_on(tmp_path: Path, cluster: ClusterNodes) -> None:
    """While a primary and its replica are dead, the mail of their partitions is refused, and only that."""

    async def go() -> None:
        await estate.postfix.start()
        estate.start(*STAGES)
        app = Application(estate.smtp)
        # Whether he is suppressed is asked of the partitions of his address and his domain.
        domain = next(one for n in itertools.count() if partition_of(f"@{(one := f'd{n}.example')}", 2))
        other = next(one for n in itertools.count() if partition_of(one := f"r{n}@{domain}", 2))
        here, there = (next(f"u{n}" for n in itertools.count() if partition_of(f"u{n}", 2) == part) for part in (0, 1))
        assert (await app.send(here, other))[:3] == (await app.send(there, other))[:3] == "250"
        await until(lambda: len(estate.postfix.delivered) == 2, estate.said)
        dead = cluster.of(stream_key(0, "default"))
        assert dead is not cluster.of(stream_key(1, "default"))
        replica = next(one for one in cluster.nodes if one.info("replication").get("master_port") == dead.port)
        dead.kill()
        replica.kill()
        numbered = [f"n{number}" for number in range(10)]
        assert {partition_of(uuid, 2) for uuid in numbered} == {0, 1}
        for uuid in numbered:
            if partition_of(uuid, 2):
                assert (await app.send(uuid, other))[:3] == "250"
                await until(lambda: estate.postfix.delivered[f"{uuid} {other}"] > 0, estate.said)  # noqa: B023
            else:
                assert (await app.once(uuid, other))[:3] == "451"
        replica.start()
        dead.start()
        for uuid in numbered:
            assert (await app.send(uuid, other))[:3] == "250"
        await until(lambda: len(estate.postfix.delivered) == 12, estate.said)

    with mailer(tmp_path, cluster) as estate:
        run(go())


@pytest.mark.parametrize("kind", ["sentinels", "cluster", "cluster_tls"])
def test_every_word_that_the_role_writes_is_taken(kind: str) -> None:
    way, queue = of_the_role(kind), of_the_role("reliable-queue")
    found = parse({"reliable-queue": queue, "receiver": {"reliable-queue": {"redis": way}}})
    assert found.receiver.reliable_queue.redis.model_dump(mode="json", by_alias=True, exclude_unset=True) == way
    assert found.reliable_queue.model_dump(mode="json", by_alias=True, exclude_unset=True) == queue


def test_a_cluster_over_tls(tmp_path: Path, certificate: Path) -> None:
    """As the role writes it. A certificate must have the addresses, by which such servers name each other."""

    async def go(where: dict[str, Any]) -> None:
        queue = Queue(redis_of(Where.model_validate(where)), partitions=4)
        try:
            for number in range(8):
                await queue.add("default", Envelope(f"u{number}", ("b@example.com",)), b"m")
        finally:
            await queue.redis.aclose()

    with running(ClusterNodes(tmp_path, certificate)) as servers:
        run(go(servers.where))
        held = [one.client().dbsize() for one in servers.nodes[:3]]
        assert min(held) > 0  # each server had a share
        wait_until(lambda: [one.client().dbsize() for one in servers.nodes[3:]] == held, servers.log)
        with mailer(tmp_path, servers, partitions=4) as estate:
            for words, said in (
                (("preflight", "--host", "127.0.0.1"), "appendfsync is always"), (("sink", "off"), "sink mode is off"),
                (("search",), "u7"),
            ):  # fmt: skip
                assert said in (done := ctl(estate, *words)).stdout, done
        assert [one.denied() for one in servers.nodes] == [set()] * 6
        with pytest.raises(QueueError, match="certificate verify failed"):
            run(go({**servers.where, "tls-ca-file": None}))


# -- TLS and a user of its own -----------------------------------------------------------------------------

# Commands that redis-py calls otherwise, and methods that are none.
CALLED = {
    "delete": "del", "hscan_iter": "hscan", "scan_iter": "scan", "script_load": "script", "xgroup_create": "xgroup"
}  # fmt: skip
NO_COMMANDS = {"aclose", "any_answers", "call", "execute", "execute_command", "pcall", "pipeline"}


def test_the_user_of_the_guide_may_all_that_the_package_asks() -> None:
    may = {word.removeprefix("+").partition("|")[0] for word in documented_user()}
    text = "".join(
        path.read_text()
        for path in (PACKAGE / "postmaster_mailer").glob("*.py")
        if path.name != "storage.py"  # which needs more, as the guide says
    )
    wanted = {name.lower() for name in re.findall(r"redis\.p?call\('([A-Z]+)'", text)}
    wanted |= {CALLED.get(name, name) for name in re.findall(r"(?:redis|pipe)\.([a-z_]+)\(", text)} - NO_COMMANDS
    assert len(wanted) > 30
    assert wanted - may == set()


def ctl(estate: Estate, *words: str) -> subprocess.CompletedProcess[str]:
    """What mailerctl says."""
    command = [sys.executable, "-m", "postmaster_mailer.ctl", "--config", str(estate.folder / "mailer.yaml"), *words]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


class Guarded:
    """A server that is reached over TLS with a certificate alone, by the user that the guide gives."""

    def __init__(self, folder: Path, certificate: Path, *, without: str = "") -> None:
        self.certificate = str(certificate)
        rules = [one for one in documented_user() if one != without]
        self.node = Node(folder / "redis", *rules, certificate=certificate)

    @property
    def where(self) -> dict[str, Any]:
        """What the configuration says of it."""
        pem = self.certificate
        files = {"tls-ca-file": pem, "tls-certificate": pem, "tls-key": pem}
        return {"port": self.node.port, "tls": True, **USER, **files}

    def start(self) -> None:
        """Start it."""
        self.node.start()

    def client(self) -> Any:
        """Its administrator."""
        return self.node.client()

    def end(self) -> None:
        """End it."""
        self.node.kill()


def test_all_of_it_with_tls_and_a_user_that_may_little(tmp_path: Path, certificate: Path) -> None:
    async def go(servers: Guarded, estate: Estate) -> None:
        await estate.postfix.start()
        estate.start(*STAGES, "redis")
        app = Application(estate.smtp)
        assert await app.send("u1", "b@example.com") == "250 2.0.0 u1 is queued"
        await until(lambda: {one["uuid"] for one in estate.told()} == {"u1"}, estate.said)
        estate.start("backdata")
        await until(lambda: not estate.told(), estate.said)
        for words, said in (
            (("status",), "outgoing"), (("trace", "u1"), "delivered"), (("dead",), ""), (("replay",), ""),
            (("suppress", "add", "c@example.com"), ""), (("suppress", "list"), "c@example.com"),
            (("suppress", "remove", "c@example.com"), ""), (("drain",), ""), (("retry",), ""), (("pools",), ""),
            (("search",), "u1"), (("sink", "on", "--domain", "other.example"), "other"), (("sink", "off"), "off"),
        ):  # fmt: skip
            done = await asyncio.to_thread(ctl, estate, *words)
            assert (done.returncode, said in done.stdout) == (0, True), (words, done)
        checked = await asyncio.to_thread(ctl, estate, "preflight", "--host", "127.0.0.1")
        assert "appendfsync is always" in checked.stdout, checked
        assert servers.node.denied() == set()
        # Stages that die leave work to others.
        estate.kill("transformer")
        estate.kill("postfix")
        estate.start("transformer", "postfix")
        assert await app.send("u2", "b@example.com") == "250 2.0.0 u2 is queued"
        await until(lambda: len(estate.postfix.delivered) == 2, estate.said)
        queue = Queue(redis_of(Where.model_validate(servers.where)), partitions=2, replicas=1, wait=0.1)
        with pytest.raises(QueueError, match="it reached 0 of 1 replicas in time"):
            await queue.add("default", Envelope("u3", ("b@example.com",)), b"m")
        await queue.redis.aclose()
        assert servers.node.denied() == set()

    with running(Guarded(tmp_path, certificate)) as servers, mailer(tmp_path, servers) as estate:
        run(go(servers, estate))


@pytest.mark.parametrize("missing", ["+evalsha", "+xadd", "tls-certificate", "tls-ca-file"])
def test_without_what_it_needs_nothing_is_taken(tmp_path: Path, certificate: Path, missing: str) -> None:
    async def go(estate: Estate) -> None:
        estate.start("receiver")
        await until(lambda: listening(estate.smtp), estate.said)
        assert (await Application(estate.smtp).once("u1", "b@example.com"))[:3] == "451"

    class Lacking(Guarded):
        @property
        def where(self) -> dict[str, Any]:
            gone = {missing, *(["tls-key"] if missing == "tls-certificate" else [])}
            return {name: value for name, value in super().where.items() if name not in gone}

    with running(Lacking(tmp_path, certificate, without=missing)) as servers:
        with mailer(tmp_path, servers) as estate:
            run(go(estate))
