"""What a round costs: our engine beside Flower's, and training beside a hand-written loop.

    python simulations/benchmarks/engine.py              both parts, some minutes
    python simulations/benchmarks/engine.py --no-flower  without Flower's own engine

No-op part: clients send the head back unchanged; train and evaluate, the same FedAvg on both
engines, a 10x512 head. Training part: 5,000x512 features of 10 classes, one local epoch, batches of
32, momentum; beside it the same arithmetic in one process, all clients stacked with bmm.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import numpy as np
import torch
import typer
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from rich.console import Console
from rich.table import Table

from fedtl.config import RunConfig
from fedtl.engine.block_app import OneByOne
from fedtl.engine.fedtl_clients import FedtlClients, MakeFedtlClients
from fedtl.engine.ray_grid import RayGrid
from fedtl.engine.ray_session import start_ray
from fedtl.engine.resources import actor_count, this_machine
from fedtl.federation.server import Federation
from fedtl.preparation.simulated_sites import SimulatedSites
from fedtl.transfer.heads import LinearHead
from fedtl.transfer.shared_features import Spill
from strategies.fedavg import FedAvg

EXAMPLES, WIDTH, CLASSES, BATCH = 5_000, 512, 10, 32
BLOCK = 256
FLOWER_ROUNDS = {10: 10, 100: 5, 1000: 3}


def noop_app() -> ClientApp:
    """Return clients that send the head back unchanged."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 5, "train-loss": 1.0})
        content = RecordDict({"arrays": message.content["arrays"], "metrics": metrics})
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 5, "loss": 1.0, "accuracy": 0.5})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


class MakeNoop:
    """Makes the no-op clients in an actor."""

    def __call__(self) -> OneByOne:
        """Return them."""
        return OneByOne(noop_app())


def timed_rounds(grid: Grid, clients: int, rounds: int) -> list[float]:
    """Return the seconds of each round of one FedAvg; the first warms up and is left out."""
    strategy = FedAvg(RunConfig(clients=clients), LinearHead(WIDTH, CLASSES))
    marks: list[float] = []

    def mark(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        marks.append(time.perf_counter())
        return MetricRecord({"round": server_round})

    head = ArrayRecord({"weight": torch.zeros(CLASSES, WIDTH), "bias": torch.zeros(CLASSES)})
    strategy.start(grid, head, num_rounds=rounds + 1, evaluate_fn=mark)
    return np.diff(marks)[1:].tolist()


@contextmanager
def ray_grid(clients: int) -> Iterator[RayGrid]:
    """Yield our grid with one actor per core."""
    resources = this_machine()
    actors = actor_count(resources, clients=clients, client_cpus=1, client_gpus=0)
    grid = RayGrid(actors=actors, client_cpus=1, client_gpus=0, client_timeout=300)
    try:
        yield grid
    finally:
        grid.close()


def our_noop(clients: int, rounds: int) -> float:
    """Return our median seconds a no-op round."""
    with ray_grid(clients) as grid:
        grid.open(clients, MakeNoop(), {}, block=BLOCK)
        return statistics.median(timed_rounds(grid, clients, rounds))


def flower_noop(clients: int, rounds: int) -> float:
    """Return the median seconds of a no-op round in Flower's own simulation engine."""
    from flwr.simulation import run_simulation

    seconds: list[float] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        # Otherwise round 1 trains whoever has registered by then.
        while len(list(grid.get_node_ids())) < clients:
            time.sleep(0.1)
        seconds.extend(timed_rounds(grid, clients, rounds))

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, noop_app(), num_supernodes=clients, backend_config=resources)
    return statistics.median(seconds)


class _Silent:
    """A journal that writes nothing."""

    stopped = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def synthetic_sites(spill: Spill, clients: int) -> SimulatedSites:
    """Return clients over 5,000 random features; a fifth of the examples is held out."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, EXAMPLES)
    centres = rng.normal(size=(CLASSES, WIDTH))
    features = (0.15 * centres[labels] + rng.normal(size=(EXAMPLES, WIDTH))).astype(np.float32)
    parts = np.array_split(rng.permutation(EXAMPLES), clients)
    return SimulatedSites(
        features=spill.share(features),
        labels=labels,
        train=[np.sort(part) for part in parts],
        held_out=[np.empty(0, np.int64)] * clients,
        test=np.empty(0, np.int64),
        unseen=np.empty(0, np.int64),
        class_names=tuple(map(str, range(CLASSES))),
        fingerprint="synthetic",
    )


def our_training(clients: int, rounds: int) -> float:
    """Return our median seconds a round of FedAvg."""
    config = RunConfig(clients=clients, rounds=rounds, batch_size=BATCH)
    spill = Spill()
    sites = synthetic_sites(spill, clients)
    with ray_grid(clients) as grid:
        make_app = MakeFedtlClients(FedtlClients(config, sites))
        grid.open(clients, make_app, config.to_mapping(), block=BLOCK)
        outcome = Federation(grid, config, _Silent(), expected=sites.identity).run()
    spill.close()
    return statistics.median(outcome.seconds[1:])


def bmm_loop(clients: int, rounds: int) -> float:
    """Return the seconds a round of the least code that trains all clients in one process."""
    rng = np.random.default_rng(0)
    x = torch.randn(EXAMPLES, WIDTH)
    y = torch.from_numpy(rng.integers(0, CLASSES, EXAMPLES))
    each = EXAMPLES // clients
    batch = min(BATCH, each)
    rows = torch.from_numpy(rng.permutation(EXAMPLES)[: each * clients].reshape(clients, each))
    start = torch.zeros(clients, CLASSES, WIDTH)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        weight, velocity = start.clone(), torch.zeros_like(start)
        for first in range(0, each, batch):
            index = rows[:, first : first + batch]
            inputs, target = x[index], y[index]
            residual = torch.bmm(inputs, weight.transpose(1, 2)).softmax(2)
            residual.scatter_add_(2, target[..., None], torch.full((*target.shape, 1), -1.0))
            velocity.mul_(0.9).add_(torch.bmm(residual.transpose(1, 2), inputs) / index.shape[1])
            weight.sub_(velocity, alpha=0.05)
        start = weight.mean(0).expand_as(weight)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main(
    clients: Annotated[str, typer.Option(help="Numbers of clients.")] = "10,100,1000",
    rounds: Annotated[int, typer.Option(help="Rounds of our engine.")] = 20,
    flower: Annotated[bool, typer.Option(help="Measure Flower's own engine as well.")] = True,
) -> None:
    """Measure and print."""
    counts = [int(text) for text in clients.split(",")]
    console = Console()
    start_ray("", this_machine(), clients=max(counts), client_cpus=1.0, client_gpus=0.0)
    torch.set_num_threads(1)
    noop = {count: our_noop(count, rounds) for count in counts}
    training = {count: our_training(count, rounds) for count in counts}
    loop = {count: bmm_loop(count, rounds) for count in counts}
    import ray

    ray.shutdown()
    theirs = {n: flower_noop(n, FLOWER_ROUNDS.get(n, 3)) for n in counts} if flower else {}

    table = Table("clients", "ours ms", "Flower ms", "ratio", title="No-op round, train + evaluate")
    for count in counts:
        other = theirs.get(count)
        table.add_row(
            str(count),
            f"{1e3 * noop[count]:.1f}",
            "" if other is None else f"{1e3 * other:.0f}",
            "" if other is None else f"{other / noop[count]:.0f}x",
        )
    console.print(table)
    table = Table(
        "clients",
        "round ms",
        "bmm loop ms",
        "no-op ms",
        "(round - no-op) / loop",
        title="Training round, 5,000x512, batch 32",
    )
    for count in counts:
        extra = (training[count] - noop[count]) / loop[count]
        table.add_row(
            str(count),
            f"{1e3 * training[count]:.1f}",
            f"{1e3 * loop[count]:.1f}",
            f"{1e3 * noop[count]:.1f}",
            f"{extra:.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
