# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what Redis holds, kept in object storage (S3) from an orderly stop to the next start, where it has no disk.

It is put back into an empty Redis only, key by key and never over one that is there, and once: after the next start it
has another name, as mail that was sent since must not be sent again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import struct
import tempfile
import time
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from minio import Minio
from minio.commonconfig import CopySource
from minio.error import MinioException, S3Error
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from urllib3.exceptions import HTTPError

from .config import ObjectStorage

log = logging.getLogger(__name__)

NAME = "state"
USED = ".used"
_MAGIC = b"postmaster-mailer state 1\n"
# Bytes of the key, when it expires (milliseconds since the epoch, 0: never), bytes of its value.
_HEAD = struct.Struct(">IQQ")
_MARK = "mailer:restoring"  # there while it is put back
_COPY = "mailer:restoring:copy"
_MEMORY = 16_777_216  # bytes that are held before a file is used
_BEGIN = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
if redis.call('DBSIZE') > 0 then return 0 end
redis.call('SET', KEYS[1], 1)
return 1
"""


class StorageError(Exception):
    """It could not be kept, or put back; the text says why. What Redis holds is as it was."""


class Store(Protocol):
    """Where it is kept."""

    def put(self, data: BinaryIO, size: int) -> None:
        """Keep it."""

    def get(self, to: BinaryIO) -> bool:
        """Write what is kept; False if nothing is."""

    def retire(self) -> None:
        """Give what is kept another name, if something is."""


class Bucket:
    """A bucket of S3. Raises :class:`StorageError`."""

    def __init__(self, settings: ObjectStorage, secret: str) -> None:
        url = urlsplit(settings.endpoint_url)
        if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
            raise StorageError("endpoint-url must be https:// (or http://) and a host, with no path")
        self._bucket, self._name = settings.bucket, settings.prefix + NAME
        self._client = Minio(
            url.netloc, settings.access_key_id, secret, secure=url.scheme == "https", region=settings.region
        )

    def put(self, data: BinaryIO, size: int) -> None:
        """See :class:`Store`."""
        self._do(lambda: self._client.put_object(self._bucket, self._name, data, size))

    def get(self, to: BinaryIO) -> bool:
        """See :class:`Store`."""

        def read() -> bool:
            answer = self._client.get_object(self._bucket, self._name)
            try:
                for part in answer.stream(1 << 20):
                    to.write(part)
            finally:
                answer.close()
                answer.release_conn()
            return True

        return bool(self._do(read))

    def retire(self) -> None:
        """See :class:`Store`."""

        def rename() -> None:
            source = CopySource(self._bucket, self._name)
            self._client.copy_object(self._bucket, self._name + USED, source)
            self._client.remove_object(self._bucket, self._name)

        self._do(rename)

    def _do(self, work: Any) -> Any:
        """What work returns; None where there is no such object."""
        try:
            return work()
        except S3Error as err:
            if err.code == "NoSuchKey":
                return None
            raise StorageError(f"the bucket {self._bucket} answers {err.code}: {err.message}") from err
        except (MinioException, HTTPError, OSError, ValueError) as err:
            raise StorageError(f"the bucket {self._bucket} cannot be used: {err}") from err


async def save(redis: Redis, store: Store) -> int:
    """Keep all keys of the mailer; how many. Raises :class:`StorageError`."""
    with tempfile.SpooledTemporaryFile(_MEMORY) as file:
        try:
            count = await _dump(redis, file)  # type: ignore[arg-type]
        except RedisError as err:
            raise StorageError(f"Redis cannot be read: {err}") from err
        size = file.tell()
        file.seek(0)
        await asyncio.to_thread(store.put, file, size)  # type: ignore[arg-type]
    log.info("%d keys, %d bytes, are in object storage", count, size)
    return count


async def load(redis: Redis, store: Store) -> int:
    """Put back what is kept, if Redis is empty; how many keys. Raises :class:`StorageError`."""
    try:
        empty = await _begun(redis)
    except RedisError as err:
        raise StorageError(f"Redis cannot be asked: {err}") from err
    with tempfile.SpooledTemporaryFile(_MEMORY) as file:
        count = 0
        if not empty:
            log.info("Redis is not empty: what is in object storage is not put back")
        elif await asyncio.to_thread(store.get, file):  # type: ignore[arg-type]
            _check(file)  # type: ignore[arg-type]
            count = await _restore(redis, file)  # type: ignore[arg-type]
            log.info("%d keys were put back from object storage", count)
        await asyncio.to_thread(store.retire)
    try:
        await redis.delete(_MARK)
    except RedisError as err:
        raise StorageError(f"Redis cannot be asked: {err}") from err
    return count


async def _begun(redis: Redis) -> bool:
    """Whether it is empty, or what was begun here is to be finished. Waits for one that reads its own disk."""
    while True:
        try:
            answer: Any = await redis.eval(_BEGIN, 1, _MARK)
            return bool(answer)
        except BusyLoadingError:
            await asyncio.sleep(0.5)


async def _dump(redis: Redis, to: BinaryIO) -> int:
    digest, count = hashlib.sha256(), 0

    def write(data: bytes) -> None:
        digest.update(data)
        to.write(data)

    write(_MAGIC)
    async for key in redis.scan_iter("mailer:*", count=1000):
        if key in (_MARK.encode(), _COPY.encode()):
            continue
        async with redis.pipeline(transaction=True) as pipe:
            pipe.pttl(key)
            pipe.dump(key)
            left, value = await pipe.execute()
        if value is None:  # it is over
            continue
        expiry = int(time.time() * 1000) + left if left > 0 else 0
        write(_HEAD.pack(len(key), expiry, len(value)) + key + value)
        count += 1
    write(_HEAD.pack(0, count, 0))
    to.write(digest.digest())
    return count


def _check(file: BinaryIO) -> None:
    """That it is whole."""
    size = file.seek(0, 2) - hashlib.sha256().digest_size
    file.seek(0)
    digest, left = hashlib.sha256(), size
    while left > 0 and (part := file.read(min(left, 1 << 20))):
        digest.update(part)
        left -= len(part)
    if size < len(_MAGIC) or file.read() != digest.digest():
        raise StorageError(f"what is in object storage is not whole: delete the object {NAME} to start without it")
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise StorageError("what is in object storage is of another version of the mailer: start that one")


async def _same(redis: Redis, key: bytes, value: bytes) -> bool:
    """Whether a key holds what would be put there."""
    if await redis.dump(key) == value:
        return True
    # Fields of a hash and members of a set come in an order that every server chooses for itself.
    kind: Any = await redis.type(key)
    read = {b"hash": redis.hgetall, b"set": redis.smembers}.get(kind)
    if read is None:
        return False
    await redis.restore(_COPY, 0, value, replace=True)
    try:
        return bool(await redis.type(_COPY) == kind and await read(key.decode()) == await read(_COPY))
    finally:
        await redis.delete(_COPY)


async def _restore(redis: Redis, file: BinaryIO) -> int:
    """Put back what follows."""
    done = 0
    while True:
        length, expiry, size = _HEAD.unpack(file.read(_HEAD.size))
        if not length:
            return done
        key, value = file.read(length), file.read(size)
        try:
            if not 0 < expiry <= time.time() * 1000:
                await redis.restore(key, expiry, value, absttl=bool(expiry))
        except ResponseError as err:
            if "BUSYKEY" not in str(err) or not await _same(redis, key, value):
                why = "it is there already" if "BUSYKEY" in str(err) else str(err)
                raise StorageError(f"{key.decode('ascii', 'replace')} cannot be put back: {why}") from err
        except RedisError as err:
            raise StorageError(f"Redis does not take it back: {err}") from err
        done += 1
