# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a Redis in object storage: a fake S3 on loopback, which verifies signatures by a code of its own."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from postmaster_mailer.config import ConfigError, ObjectStorage, parse
from postmaster_mailer.envelope import Envelope
from postmaster_mailer.queue import Move, Queue
from redis.asyncio import Redis

from .conftest import RedisServer, run
from .stages import PACKAGE, Application, Estate
from .test_stages import run as run_long
from .test_stages import until

pytest.importorskip("minio")
storage = pytest.importorskip("postmaster_mailer.storage")

KEY_ID, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-central-1"
OBJECT = "/mail/postmaster-mailer/state"
NO_SUCH = "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
FORBIDDEN = "<Error><Code>SignatureDoesNotMatch</Code><Message>wrong</Message></Error>"
COPIED = "<CopyObjectResult><ETag>x</ETag><LastModified>2026-11-29T00:00:00.000Z</LastModified></CopyObjectResult>"


class FakeS3(BaseHTTPRequestHandler):
    """GET, HEAD, PUT with and without a source, and DELETE of objects; for whoever signs as AWS's version 4 says."""

    objects: dict[str, bytes]

    def _signed(self, body: bytes) -> bool:
        words = self.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").replace(" ", "").split(",")
        given = dict(one.split("=", 1) for one in words)
        scope = given["Credential"].removeprefix(f"{KEY_ID}/")
        digest = self.headers["x-amz-content-sha256"]
        if digest not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            return False
        path, dummy, query = self.path.partition("?")
        lines = [f"{one}:{' '.join(self.headers[one].split())}\n" for one in given["SignedHeaders"].split(";")]
        asked = "\n".join([self.command, path, query, "".join(lines), given["SignedHeaders"], digest])
        text = "\n".join(
            ["AWS4-HMAC-SHA256", self.headers["x-amz-date"], scope, hashlib.sha256(asked.encode()).hexdigest()]
        )
        key = ("AWS4" + SECRET).encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), given["Signature"])

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.send_header("Content-Type", "application/xml")
        self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        source = unquote(self.headers.get("x-amz-copy-source", ""))
        source = f"/{source.lstrip('/')}" if source else ""
        if not self._signed(body):
            self._answer(403, FORBIDDEN.encode())
        elif (source or path) not in self.objects and (source or self.command in ("GET", "HEAD")):
            self._answer(404, NO_SUCH.encode())
        elif self.command == "PUT":
            self.objects[path] = self.objects[source] if source else body
            self._answer(200, COPIED.encode() if source else b"")
        elif self.command == "DELETE":
            self.objects.pop(path, None)
            self._answer(204)
        else:
            self._answer(200, self.objects[path])

    do_GET = do_HEAD = do_PUT = do_DELETE = _do

    def log_message(self, format: str, *words: Any) -> None:
        pass


class S3:
    """A running fake."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.objects: dict[str, bytes] = {}
        server.RequestHandlerClass = type("Handler", (FakeS3,), {"objects": self.objects})
        self.settings = {
            "bucket": "mail",
            "region": REGION,
            "access-key-id": KEY_ID,
            "secret-access-key": SECRET,
            "endpoint-url": f"http://127.0.0.1:{server.server_address[1]}",
        }

    def bucket(self, secret: str = SECRET) -> Any:
        return storage.Bucket(ObjectStorage.model_validate(self.settings), secret)


@pytest.fixture
def s3() -> Iterator[S3]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeS3)
    fake = S3(server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def queue_of(server: RedisServer) -> Queue:
    return Queue(Redis(unix_socket_path=str(server.socket), protocol=3), partitions=2)


def test_there_and_back(redis_server: RedisServer, s3: S3) -> None:
    """Messages, who holds them, and how long records last, are as they were. Then it is used up."""

    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.prepare(["default"])
        for number in range(50):
            await queue.add("default", Envelope(f"u{number}", ("b@example.com",)), b"m" * 10_000)
        held = [one for part in range(2) for one in await queue.take(part, ["default"], "one", count=10, block=0.01)]
        await queue.move([Move(held[0], [("outgoing", {b"m": b"\xff\x00"})])])
        lasts = await queue.redis.pexpiretime(f"mailer:{{{held[1].partition}}}:message:{held[1].envelope.uuid}")
        count = await storage.save(queue.redis, s3.bucket())
        assert count == await queue.redis.dbsize() and list(s3.objects) == [OBJECT]
        await queue.redis.flushall()
        assert await storage.load(queue.redis, s3.bucket()) == count == await queue.redis.dbsize()
        again = [one for part in range(2) for one in await queue.own(part, ["default"], "one", count=100)]
        assert again == held[1:]
        fresh = [one for part in range(2) for one in await queue.take(part, ["default"], "one", count=100, block=0.01)]
        assert len(fresh) == 50 - len(held)
        restored = await queue.redis.pexpiretime(f"mailer:{{{held[1].partition}}}:message:{held[1].envelope.uuid}")
        assert abs(restored - lasts) < 60_000
        assert await queue.redis.xlen(f"mailer:{{{held[0].partition}}}:outgoing") == 1
        # A Redis that is empty later must not send it all again.
        assert list(s3.objects) == [OBJECT + ".used"]
        await queue.redis.flushall()
        assert await storage.load(queue.redis, s3.bucket()) == 0 == await queue.redis.dbsize()

    run(go())


@pytest.mark.parametrize("key", ["mailer:{0}:default", "of somebody else"])
def test_never_over_what_is_there(redis_server: RedisServer, s3: S3, key: str) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        await storage.save(queue.redis, s3.bucket())
        await queue.redis.flushall()
        await queue.redis.xadd(key, {"live": "data"})
        assert await storage.load(queue.redis, s3.bucket()) == 0
        assert await queue.redis.keys("*") == [key.encode()]
        assert list(s3.objects) == [OBJECT + ".used"]

    run(go())


def test_killed_in_the_middle_it_is_finished(redis_server: RedisServer, s3: S3) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        for number in range(20):
            await queue.add("default", Envelope(f"u{number}", ("b@example.com",)), b"m")
        await queue.redis.hset("mailer:some", mapping={"one": "1", "two": "2"})
        count = await storage.save(queue.redis, s3.bucket())
        kept = s3.objects[OBJECT]
        await queue.redis.flushall()
        assert await storage.load(queue.redis, s3.bucket()) == count
        # As if it had died after some keys: they are there, and so is the mark.
        s3.objects[OBJECT] = kept
        await queue.redis.set("mailer:restoring", 1)
        for key in (await queue.redis.keys("mailer:*"))[::2]:
            if key != b"mailer:restoring":
                await queue.redis.delete(key)
        # A server keeps the fields of a hash in an order of its own.
        await queue.redis.delete("mailer:some")
        await queue.redis.hset("mailer:some", mapping={"two": "2", "one": "1"})
        assert await storage.load(queue.redis, s3.bucket()) == count == await queue.redis.dbsize()
        # What somebody has written since is not put under it.
        s3.objects[OBJECT] = kept
        await queue.redis.set("mailer:restoring", 1)
        await queue.redis.hset("mailer:{0}:message:u0", "digest", "other")
        await queue.redis.hset("mailer:{1}:message:u0", "digest", "other")
        with pytest.raises(storage.StorageError, match="message:u0 cannot be put back: it is there already"):
            await storage.load(queue.redis, s3.bucket())
        assert list(s3.objects) == [OBJECT + ".used", OBJECT]

    run(go())


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:100], lambda data: b"", lambda data: data.replace(b"u1", b"u2")],
)
def test_what_is_not_whole_is_not_put_back(redis_server: RedisServer, s3: S3, damage: Any) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        await queue.add("default", Envelope("u1", ("b@example.com",)), b"m")
        await storage.save(queue.redis, s3.bucket())
        whole = s3.objects[OBJECT]
        s3.objects[OBJECT] = damage(whole)
        await queue.redis.flushall()
        said = "what is in object storage is not whole: delete the object state to start without it"
        with pytest.raises(storage.StorageError, match=said):
            await storage.load(queue.redis, s3.bucket())
        assert await queue.redis.keys("*") == [b"mailer:restoring"]
        s3.objects[OBJECT] = whole
        assert await storage.load(queue.redis, s3.bucket()) == 3

    run(go())


def test_who_may_not(redis_server: RedisServer, s3: S3) -> None:
    async def go() -> None:
        queue = queue_of(redis_server)
        with pytest.raises(storage.StorageError, match="the bucket mail answers SignatureDoesNotMatch: wrong"):
            await storage.save(queue.redis, s3.bucket("wrong"))
        assert await storage.save(queue.redis, s3.bucket()) == 0

    run(go())


@pytest.mark.parametrize("url", ["s3.example.org", "ftp://s3.example.org", "https://s3.example.org/path", "https://"])
def test_an_endpoint_that_is_none(url: str) -> None:
    settings = {"bucket": "b", "region": "r", "access-key-id": "a", "secret-access-key": "s", "endpoint-url": url}
    with pytest.raises(storage.StorageError, match="endpoint-url must be https://"):
        storage.Bucket(ObjectStorage.model_validate(settings), "s")
    storage.Bucket(ObjectStorage.model_validate(settings | {"endpoint-url": "https://s3.example.org/"}), "s")


def test_a_secret_is_needed() -> None:
    settings = {"bucket": "b", "region": "r", "access-key-id": "a", "endpoint-url": "https://s3.example.org"}
    said = "common-config.object-storage: object-storage needs either secret-access-key or secret-access-key-file"
    with pytest.raises(ConfigError, match=said):
        parse({"common-config": {"object-storage": settings}})
    assert parse({"common-config": {"object-storage": {**settings, "secret-access-key-file": "/x"}}})


def test_without_it_nothing_of_it_is_loaded() -> None:
    words = "import sys; import postmaster_mailer.__main__; print([one for one in sys.modules if 'minio' in one])"
    done = subprocess.run(
        [sys.executable, "-c", words],
        env={"PYTHONPATH": ":".join([str(PACKAGE), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_a_stop_and_a_start_on_a_redis_that_forgets(tmp_path: Path, redis_server: RedisServer, s3: S3) -> None:
    """The stage ``redis`` keeps it when it is stopped, and puts it back before the others work."""

    async def go() -> None:
        estate = Estate(tmp_path, redis_server, **{"common-config": {"object-storage": s3.settings}})
        try:
            estate.start("receiver", "redis")
            for number in range(10):
                assert (await Application(estate.smtp).send(f"u{number}", "b@example.com"))[:3] == "250"
            await until(lambda: "INFO up" in (tmp_path / "redis.log").read_text(), estate.said)
            assert estate.stop("receiver") == 0
            assert estate.stop("redis") == 0
            queue = queue_of(redis_server)
            await queue.redis.flushall()
            await estate.postfix.start()
            estate.start("redis")
            await until(lambda: (tmp_path / "redis.log").read_text().count("INFO up") == 2, estate.said)
            estate.start("transformer", "postfix")
            await until(lambda: len(estate.postfix.delivered) == 10, estate.said)
            assert set(estate.postfix.delivered.values()) == {1}
            assert SECRET not in (tmp_path / "redis.log").read_text()
        finally:
            estate.end()

    run_long(go())
