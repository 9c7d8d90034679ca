# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: one server of Redis or Valkey, whichever it is now, or the several of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
)

Words: TypeAlias = Sequence[Any]
# The cluster is not what it was: where each slot lies is asked anew.
_CHANGED = (AskError, ClusterDownError, ConnectionError, TimeoutError, OSError)


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """What the client says where a server is away, as it is said of a single one.

    The AttributeError is redis-py's: a connection that one task has closed, as the cluster is another, while a second
    one uses it.
    """
    try:
        yield
    except (RedisClusterException, AttributeError) as err:
        raise ConnectionError(str(err)) from err


class _Pipeline(ClusterPipeline):
    async def execute(self, *args: Any, **options: Any) -> list[Any]:
        with _away():
            return await super().execute(*args, **options)


class Cluster(RedisCluster):
    """A cluster. That a server cannot be reached is a RedisError, as it is with a single one."""

    async def initialize(self, *args: Any, **options: Any) -> Cluster:
        """Learn which server has which slots, unless that is known."""
        with _away():
            await super().initialize(*args, **options)
        return self

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The answer to a command."""
        try:
            with _away():
                return await super().execute_command(*args, **options)
        except _CHANGED:
            self._initialize = True
            raise

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """Commands that go together as far as their servers allow."""
        return _Pipeline(self, transaction)  # type: ignore[abstract]

    async def answers(self, commands: Sequence[tuple[str, Words]], last: Words | None) -> list[tuple[Any, Any]]:
        """See the function of this name."""
        await self.initialize()
        found: list[tuple[Any, Any]] = [(None, None)] * len(commands)

        async def ask(node: ClusterNode, asked: Sequence[int]) -> None:
            pipe = self.pipeline()
            for words in (*(commands[at][1] for at in asked), *([last] if last else [])):
                pipe.execute_command(*words, target_nodes=node)
            try:
                # Not led on to another server: WAIT is for what this connection has written.
                said = await pipe.execute(raise_on_error=False, allow_redirections=False)
            except (RedisError, OSError) as err:
                said = [err] * (len(asked) + 1)
            for at, answer in zip(asked, said, strict=False):
                found[at] = (answer, said[-1] if last else None)

        try:
            with _away():
                nodes = [self.nodes_manager.get_node_from_slot(self.keyslot(key)) for key, dummy in commands]
        except ConnectionError:
            self._initialize = True
            raise
        places = {node: [at for at, one in enumerate(nodes) if one == node] for node in nodes}
        await asyncio.gather(*(ask(node, asked) for node, asked in places.items()))
        if any(isinstance(one, _CHANGED) for one, dummy in found):
            # Asked anew at the next command. Nothing is closed: others use these connections.
            self._initialize = True
        return found

    async def any_answers(self) -> bool:
        """Whether any primary can be reached."""
        await self.initialize()
        said = await asyncio.gather(
            *(node.execute_command("PING") for node in self.get_primaries()), return_exceptions=True
        )
        return any(not isinstance(one, BaseException) for one in said)


Servers: TypeAlias = Redis | Cluster


async def answers(
    servers: Servers, commands: Sequence[tuple[str, Words]], last: Words | None = None
) -> list[tuple[Any, Any]]:
    """For each command, named with a key that it concerns, the answer, and that of its server to ``last``.

    ``last`` follows in the same connection, as WAIT must. An answer may be an error. Raises RedisError.
    """
    if isinstance(servers, Cluster):
        return await servers.answers(commands, last)
    if len(commands) == 1 and last is None:  # nearly half as much work as for a pipeline
        try:
            return [(await servers.execute_command(*commands[0][1]), None)]  # type: ignore[no-untyped-call]
        except ResponseError as err:
            return [(err, None)]
    async with servers.pipeline(transaction=False) as pipe:
        for words in (*(words for dummy, words in commands), *([last] if last else [])):
            pipe.execute_command(*words)
        said = await pipe.execute(raise_on_error=False)
    closing = said.pop() if last else None
    return [(one, closing) for one in said]
