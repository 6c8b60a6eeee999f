"""Our grid over persistent Ray actors.

A block of clients belongs to one actor for the whole run. A phase sends each actor one call per
block, many clients to a block where their replies are small; replies come back in
partition-id order while later blocks are still being computed. Nothing polls.
"""

from __future__ import annotations

import pickle
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from flwr.app import Message, RecordDict
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from fedtl.collector import collector_paused
from fedtl.engine.actor import ClientActor, MakeApp
from fedtl.engine.block_app import FIRST_NODE_ID
from fedtl.engine.flower_internals import client_failed
from fedtl.engine.ray_head import memory_told
from fedtl.engine.simulation_grid import SimulationGrid
from fedtl.errors import FedtlError

_IN_FLIGHT = 2
_START_PATIENCE = 120.0


@dataclass
class _Block:
    """Messages for one actor, and the call that is answering them."""

    messages: list[Message]
    actor: int
    call: Any = None
    attempts: int = 0


@dataclass
class _Shares:
    """Each actor's share of the machine."""

    cpus: float
    gpus: float


class RayGrid(SimulationGrid):
    """Clients in persistent Ray actors.

    Actors start at once and are given the clients by :meth:`open`, so that they can start while
    features are still being extracted.

    Args:
        actors: Number of actors.
        client_cpus: CPU share of an actor.
        client_gpus: GPU share of an actor.
        client_timeout: Seconds a block may take; after that its actor is replaced and each of its
            clients is asked separately, so that only a stalled one is lost.
    """

    def __init__(
        self,
        *,
        actors: int,
        client_cpus: float,
        client_gpus: float,
        client_timeout: float,
    ) -> None:
        super().__init__(0)
        self._shares = _Shares(client_cpus, client_gpus)
        self._timeout = client_timeout
        self._states: dict[int, RecordDict] = {}
        self._opening: Any = None
        self._run_config: dict[str, str | int | float | bool] = {}
        self._block = 1
        self._actors = [self._start() for _ in range(actors)]

    def open(
        self,
        clients: int,
        make_app: MakeApp,
        run_config: Mapping[str, str | int | float | bool],
        *,
        block: int,
    ) -> None:
        """Give the actors their clients.

        Args:
            clients: Number of clients.
            make_app: Makes, in each actor, what runs the clients.
            run_config: Flower's run config, given to every client.
            block: Clients answered in one call; never more than an actor's share of them.

        Raises:
            FedtlError: The actors did not start, because others hold the CPUs or GPUs.
        """
        self.clients = clients
        self._opening = ray.put(make_app)
        self._run_config = dict(run_config)
        self._states = {}
        self._block = max(1, min(block, -(-self.clients // len(self._actors))))
        opened = [self._open(actor) for actor in range(len(self._actors))]
        ready, late = ray.wait(opened, num_returns=len(opened), timeout=_START_PATIENCE)
        if late:
            free = ray.available_resources()
            raise FedtlError(
                f"{len(late)} of {len(opened)} client actors did not start in "
                f"{_START_PATIENCE:.0f} s: each needs {self._shares.cpus:g} CPUs and "
                f"{self._shares.gpus:g} GPUs, but Ray has {free.get('CPU', 0):g} CPUs and "
                f"{free.get('GPU', 0):g} GPUs free; ask for less, or wait until they are free."
            )
        _opened(ready)

    def states(self) -> Mapping[int, RecordDict]:
        """See :class:`SimulationGrid`."""
        return self._states

    def restore(self, states: Mapping[int, RecordDict]) -> None:
        """See :class:`SimulationGrid`."""
        self._states = dict(states)
        _opened([self._open(actor) for actor in range(len(self._actors))])

    def owner(self, node: int) -> int:
        """Return which actor a node belongs to: blocks of clients are dealt out in turn."""
        return (node - FIRST_NODE_ID) // self._block % len(self._actors)

    def _start(self) -> Any:
        remote = ray.remote(num_cpus=self._shares.cpus, num_gpus=self._shares.gpus, max_restarts=0)(
            ClientActor
        )
        return remote.remote(sys.path)

    def _open(self, actor: int) -> Any:
        mine = {node: state for node, state in self._states.items() if self.owner(node) == actor}
        return self._actors[actor].open.remote(
            self._opening, self.clients, self._run_config, pickle.dumps(mine)
        )

    def _answers(self, messages: Sequence[Message]) -> Iterator[Message]:
        blocks = self._blocks(messages)
        waiting = [deque[_Block]() for _ in self._actors]
        for block in blocks:
            waiting[block.actor].append(block)
        # Calls beyond the first few wait here, not in Ray, so that replies do not pile up.
        for queue in waiting:
            for block in list(queue)[:_IN_FLIGHT]:
                self._call(block)
        return self._receive(blocks, waiting)

    def _receive(
        self, blocks: Sequence[_Block], waiting: Sequence[deque[_Block]]
    ) -> Iterator[Message]:
        for block in blocks:
            replies = self._finish(block, waiting[block.actor])
            # The reference is what keeps the replies' bytes in Ray's object store.
            block.call, block.messages = None, []
            queue = waiting[block.actor]
            queue.popleft()
            for following in list(queue)[:_IN_FLIGHT]:
                if following.call is None:
                    self._call(following)
            yield from replies

    def _blocks(self, messages: Sequence[Message]) -> list[_Block]:
        """Cut messages, by rising node id, into blocks of one actor's consecutive clients."""
        blocks: dict[int, _Block] = {}
        for message in messages:
            node = message.metadata.dst_node_id
            place = (node - FIRST_NODE_ID) // self._block
            if place not in blocks:
                blocks[place] = _Block([], self.owner(node))
            blocks[place].messages.append(message)
        return list(blocks.values())

    def _call(self, block: _Block) -> None:
        blob = pickle.dumps(block.messages, protocol=pickle.HIGHEST_PROTOCOL)
        block.call = self._actors[block.actor].answer.remote(blob)

    def _finish(self, block: _Block, queue: deque[_Block]) -> list[Message]:
        """Return a block's replies; on trouble repeat it, and then ask its clients one by one.

        After a death the whole block is repeated first, since no client may be at fault; after a
        stall it is not, since that would cost the time limit again.
        """
        try:
            return self._take(block)
        except _BlockLostError as trouble:
            self._replace(block.actor, queue)
            if trouble.repeat and not block.attempts:
                block.attempts = 1
                self._call(block)
                return self._finish(block, queue)
            if len(block.messages) == 1:
                return [client_failed(block.messages[0], str(trouble))]
        replies: list[Message] = []
        for message in block.messages:
            alone = _Block([message], block.actor, attempts=1)
            self._call(alone)
            replies += self._finish(alone, queue)
        return replies

    def _take(self, block: _Block) -> list[Message]:
        try:
            blob = ray.get(block.call, timeout=self._timeout)
        except GetTimeoutError as error:
            raise _BlockLostError(
                f"no reply within client-timeout = {self._timeout:g} s"
            ) from error
        except RayActorError as error:
            raise _BlockLostError("the process that ran it died", repeat=True) from error
        except RayTaskError as error:
            raise _BlockLostError(f"the process that ran it failed: {error.cause}") from error
        replies: list[Message]
        with collector_paused():
            replies, states = pickle.loads(blob)
        self._states.update(states)
        return replies

    def _replace(self, actor: int, queue: deque[_Block]) -> None:
        """Put a new actor in a lost one's place; calls that were lost with it are made again later.

        That comes after the clients of the failed block are asked, each with its full time limit.
        """
        ray.kill(self._actors[actor])
        self._actors[actor] = self._start()
        _opened([self._open(actor)])
        for block in list(queue)[1:]:
            block.call = None

    def close(self) -> None:
        """Stop the actors; Ray itself keeps running for its starter."""
        for actor in self._actors:
            ray.kill(actor)


def _opened(calls: Sequence[Any]) -> None:
    """Wait until actors have opened their clients.

    Raises:
        FedtlError: One of them has died.
    """
    try:
        ray.get(calls)
    except RayActorError as error:
        raise FedtlError(
            "A client process ended while it started, as happens if memory is short; now there is "
            f"{memory_told()}: free memory, use fewer processes (--client-cpus 2), or "
            "--engine inline, which needs no Ray."
        ) from error


class _BlockLostError(Exception):
    """A block got no usable answer; ``repeat`` if asking again may help."""

    def __init__(self, text: str, *, repeat: bool = False) -> None:
        super().__init__(text)
        self.repeat = repeat
