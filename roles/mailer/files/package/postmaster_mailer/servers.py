# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port: one server of Redis or Valkey, whichever it is now, or the several of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import AskError, ClusterDownError, ConnectionError, RedisClusterException, RedisError, TimeoutError

Words: TypeAlias = Sequence[Any]
# The cluster is not what it was: where each slot lies is asked anew.
_CHANGED = (AskError, ClusterDownError, ConnectionError, TimeoutError, OSError)


class Cluster(RedisCluster):
    """A cluster. That it cannot be reached is a RedisError, as it is with a single server."""

    async def initialize(self, *args: Any, **options: Any) -> Cluster:
        """Learn which server has which slots, unless that is known."""
        try:
            await super().initialize(*args, **options)
        except RedisClusterException as err:
            raise ConnectionError(str(err)) from err
        return self

    async def get_nodes_from_slot(self, command: str, *args: Any) -> list[ClusterNode]:
        """The server that a command goes to."""
        try:
            found: list[ClusterNode] = await super().get_nodes_from_slot(command, *args)
        except RedisClusterException as err:
            self._initialize = True
            raise ConnectionError(str(err)) from err
        return found

    async def answers(self, commands: Sequence[tuple[str, Words]], last: Words | None) -> list[tuple[Any, Any]]:
        """See the function of this name."""
        await self.initialize()
        try:
            nodes = [self.nodes_manager.get_node_from_slot(self.keyslot(key)) for key, dummy in commands]
        except RedisClusterException as err:
            await self.aclose()
            raise ConnectionError(str(err)) from err
        found: list[tuple[Any, Any]] = [(None, None)] * len(commands)

        async def ask(node: ClusterNode) -> None:
            asked = [at for at, one in enumerate(nodes) if one == node]
            pipe = self.pipeline()
            for words in (*(commands[at][1] for at in asked), *([last] if last else [])):
                pipe.execute_command(*words, target_nodes=node)
            try:
                # Not led on to another server: what follows in the same connection is for what this one has done.
                said = await pipe.execute(raise_on_error=False, allow_redirections=False)
            except (RedisError, OSError) as err:
                said = [err] * (len(asked) + 1)
            for at, answer in zip(asked, said, strict=False):
                found[at] = (answer, said[-1] if last else None)

        await asyncio.gather(*(ask(node) for node in dict.fromkeys(nodes)))
        if any(isinstance(one, _CHANGED) for one, dummy in found):
            await self.aclose()
        return found

    async def any_answers(self) -> bool:
        """Whether any primary can be reached."""
        await self.initialize()
        said = await asyncio.gather(
            *(node.execute_command("PING") for node in self.get_primaries()), return_exceptions=True
        )
        return any(not isinstance(one, BaseException) for one in said)


Servers: TypeAlias = "Redis | Cluster"


async def answers(
    servers: Servers, commands: Sequence[tuple[str, Words]], last: Words | None = None
) -> list[tuple[Any, Any]]:
    """For each command, named with a key that it concerns, the answer, and that of its server to ``last``.

    ``last`` follows in the same connection, as WAIT must. An answer may be an error. Raises RedisError.
    """
    if isinstance(servers, Cluster):
        return await servers.answers(commands, last)
    async with servers.pipeline(transaction=False) as pipe:
        for words in (*(words for dummy, words in commands), *([last] if last else [])):
            pipe.execute_command(*words)
        said = await pipe.execute(raise_on_error=False)
    closing = said.pop() if last else None
    return [(one, closing) for one in said]
