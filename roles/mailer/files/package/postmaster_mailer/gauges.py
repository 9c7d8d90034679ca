# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: what is looked at every few seconds for the metrics: the streams, Redis's memory, the queue of Postfix."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import inspection
from .backdata import Names
from .config import Config
from .delivery import waiting_of
from .metrics import OLDEST
from .queue import Queue
from .transformer import dead_of

POSTFIX_QUEUES = ("incoming", "active", "deferred", "corrupt", "hold")  # qmgr(8)
_SECONDS = 60.0  # that postqueue gets


class PostfixQueueError(Exception):
    """Postfix's queue cannot be counted; the text says what to do."""


def shown_streams(settings: Config) -> dict[str, list[str]]:
    """The streams that each metric counts."""
    names, told = settings.reliable_queue.queue_names, Names(settings.backdata.queue_name)
    outgoing = settings.postfix.incoming_queue_name
    return {
        "primary_queue_messages": [names.primary_queue],
        "default_queue_messages": [names.default_queue],
        "queue_to_postfix_messages": [outgoing],
        "next_day_queue_messages": [waiting_of(outgoing)],
        "event_queue_messages": [told.told, told.of("post"), told.of("manager")],
        "event_dead_letter_messages": [told.dead("post"), told.dead("manager")],
        "message_dead_letter_messages": [dead_of(outgoing)],
    }


async def of_redis(queue: Queue, shown: Mapping[str, list[str]]) -> dict[str, float]:
    """How full the streams and Redis are; the age of what is oldest goes to its gauge. Raises RedisError."""
    found: dict[str, float] = {}
    for metric, streams in shown.items():
        found[metric] = 0
        for stream in streams:
            there = await inspection.look(queue, stream)
            found[metric] += there.waiting + there.working
            OLDEST.labels(stream).set(there.oldest or 0)
    memory: Any = await queue.redis.info("memory")
    found["mailer_redis_memory_used_bytes"] = memory["used_memory"]
    # Without a limit of its own, the machine is one.
    found["mailer_redis_memory_max_bytes"] = memory["maxmemory"] or memory["total_system_memory"]
    return found


async def of_postfix(spool: Path) -> dict[str, float]:
    """How many messages lie in each of Postfix's queues. Raises :class:`PostfixQueueError`.

    Root counts files. Others, as members of the group postdrop, ask postqueue(1), which knows of no corrupt ones: these
    are counted where that folder may be read.
    """
    try:
        counted: Mapping[str, int] = await asyncio.to_thread(_files, spool)
    except PermissionError:
        counted = await _asked()
        with contextlib.suppress(OSError):
            counted = {**counted, "corrupt": await asyncio.to_thread(_number, spool / "corrupt")}
    except OSError as err:
        raise PostfixQueueError(f"{spool} is no spool of Postfix: {err.strerror}") from err
    return {f"postfix_{queue}_queue_messages": number for queue, number in counted.items()}


def _files(spool: Path) -> dict[str, int]:
    return {queue: _number(spool / queue) for queue in POSTFIX_QUEUES}


def _number(folder: Path) -> int:
    def refused(err: OSError) -> None:
        if not isinstance(err, FileNotFoundError):  # Postfix has moved on in between
            raise err

    os.stat(folder)
    return sum(len(found[2]) for found in os.walk(folder, onerror=refused))


async def _asked() -> dict[str, int]:
    try:
        process = await asyncio.create_subprocess_exec(
            "postqueue", "-j", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1 << 24
        )
    except OSError as err:
        raise PostfixQueueError(f"postqueue cannot be started: {err.strerror}") from err
    try:
        async with asyncio.timeout(_SECONDS):
            counted, said = await asyncio.gather(_lines(process.stdout), _text(process.stderr))
            code = await process.wait()
    except (TimeoutError, ValueError) as err:
        raise PostfixQueueError(f"postqueue -j is not understood: {err or 'it takes too long'}") from err
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        hint = ": is this user in the group postdrop?" if "denied" in said else ""
        raise PostfixQueueError(f"postqueue -j: {said or code}{hint}")
    return {queue: counted[queue] for queue in POSTFIX_QUEUES if queue != "corrupt"}


async def _lines(stream: asyncio.StreamReader | None) -> Counter[str]:
    assert stream is not None
    return Counter([str(json.loads(line)["queue_name"]) async for line in stream])


async def _text(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await stream.read()).decode("utf-8", "replace").strip()
