"""The clients of a run, and how they are reached."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flwr.serverapp import Grid

from fedtl.client.alone import LoneHeads, lone_heads
from fedtl.client.client_memory import SimulatedStates
from fedtl.config import RunConfig
from fedtl.data.understood import Understood
from fedtl.engine.fedtl_clients import FedtlClients, inline_grid
from fedtl.engine.flower_internals import is_simulation
from fedtl.federation.quorum import Quorum
from fedtl.observers.together import Observers
from fedtl.preparation.inputs import Inputs
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.preparation.split import Split
from fedtl.runs.pooled_beside import PooledBeside
from fedtl.scenario.adversity import attackers


@dataclass(frozen=True)
class Held:
    """The data of clients that this process holds itself.

    Attributes:
        inputs: All of it, and its features.
        split: Who holds what.
        understood: Counts of it before anything was computed.
        seconds: That the features took.
        pooled: Finds the centralised reference, beside the federation.
    """

    inputs: Inputs
    split: Split
    understood: Understood
    seconds: float
    pooled: PooledBeside


@dataclass(frozen=True)
class Ready:
    """Clients that can be asked.

    Attributes:
        config: The run's, ``clients`` as many as there are.
        grid: Carries messages to them.
        names: Their names, in partition-id order.
        hostile: Partition ids of those that the scenario makes hostile.
        sites: What each holds; ``None`` if the data is elsewhere.
        held: Their data as opened; ``None`` if this run has not opened it.
        simulated: Holds their states, which checkpoints then hold; ``None`` if they do themselves.
        quorum: How many must take part, if they are real sites.
        patience: Seconds to wait for them to connect.
        reply_timeout: Seconds to wait for a phase's replies; ``None`` leaves that to the grid.
    """

    config: RunConfig
    grid: Grid
    names: Sequence[str]
    hostile: Collection[int] = ()
    sites: SimulatedSites | None = None
    held: Held | None = None
    simulated: SimulatedStates | None = None
    quorum: Quorum | None = None
    patience: float = 60.0
    reply_timeout: float | None = None


class Clients:
    """The clients of one run."""

    def prepare(self, observers: Observers) -> Ready:
        """Make them ready to be asked.

        Raises:
            FedtlError: That is not possible; every message is one sentence.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Free what only the federation needed, without waiting."""

    def abandon(self, error: BaseException) -> None:
        """Free everything when an error ends the run."""


@dataclass(frozen=True)
class ClientsHere(Clients):
    """Clients whose data is ready, run in this process, as in a cell of a comparison.

    Attributes:
        config: The run's.
        sites: What each client has.
        lone_heads: Finds local-only heads.
    """

    config: RunConfig
    sites: SimulatedSites
    lone_heads: LoneHeads = lone_heads

    def prepare(self, observers: Observers) -> Ready:
        """Return them."""
        count = len(self.sites.train)
        config = self.config.replace(clients=count)
        return Ready(
            config=config,
            grid=inline_grid(config, FedtlClients(config, self.sites, self.lone_heads)),
            names=[f"client-{client}" for client in range(count)],
            hostile=attackers(config),
            sites=self.sites,
        )


@dataclass(frozen=True)
class ConnectedClients(Clients):
    """Clients that Flower's own runtimes connect: real sites, or those of its simulation.

    Attributes:
        config: The run's.
        grid: The one that Flower gives a server app.
    """

    config: RunConfig
    grid: Grid

    def prepare(self, observers: Observers) -> Ready:
        """Return them; the federation waits until they are connected."""
        config, simulation = self.config, is_simulation(self.grid)
        return Ready(
            config=config,
            grid=self.grid,
            names=[f"client-{client}" for client in range(config.clients)],
            hostile=attackers(config) if simulation else (),
            quorum=None if simulation else Quorum.of(config),
            patience=config.connect_timeout,
            reply_timeout=config.client_timeout,
        )
