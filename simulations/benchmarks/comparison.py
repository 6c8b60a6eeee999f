"""The cost of a comparison: 20 strategies, beside one of them in Flower's own engine.

    python simulations/benchmarks/comparison.py              both parts, some minutes
    python simulations/benchmarks/comparison.py --no-flower  without Flower's own engine

The comparison: 3 seeds, 50 rounds, 10 clients over 5,000x512 features of 10 classes, the whole of
``python -m fedtl.compare`` from start to page. The other: FedAvg as Flower's documentation writes
it, with a client that trains and evaluates a linear layer in PyTorch on the same features, for a
few rounds; all runs of the comparison take that many times as long.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

EXAMPLES, WIDTH, CLASSES, BATCH = 5_000, 512, 10, 32
CLIENTS, ROUNDS, SEEDS = 10, 50, 3
ITERATIVE = (
    *("fedavg", "fedprox", "fednova", "scaffold", "feddyn", "qfedavg", "fedavgm", "fedadagrad"),
    *("fedadam", "fedyogi", "fedmedian", "fedtrimmedavg", "krum", "multikrum", "geomedian"),
)
ONE_ROUND = ("fed3r", "afl", "fedncm", "fedcof", "fedcgs")


def write_features(path: Path) -> None:
    """Write 5,000 training and 1,000 test features of classes that overlap."""
    rng = np.random.default_rng(0)
    count = EXAMPLES + 1_000
    labels = rng.integers(0, CLASSES, count)
    centres = rng.normal(size=(CLASSES, WIDTH))
    features = 0.15 * centres[labels] + rng.normal(size=(count, WIDTH))
    test = np.arange(count) >= EXAMPLES
    np.savez(path, x=features.astype(np.float32), y=labels, test=test)


def compare_seconds(data: Path, out: Path) -> float:
    """Return the seconds of the whole command."""
    began = time.perf_counter()
    command = [
        *(sys.executable, "-m", "fedtl.compare", "--strategies", ",".join(ITERATIVE + ONE_ROUND)),
        *("--seeds", str(SEEDS), "--rounds", str(ROUNDS), "--clients", str(CLIENTS)),
        *("--data", f"features:{data}", "--alpha", "0.5", "--out", str(out), "--quiet"),
    ]
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def linear_app(data: Path) -> ClientApp:
    """Return clients that train and evaluate a linear layer on a tenth of the features."""
    app = ClientApp()

    def opened(
        message: Message, context: Context
    ) -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
        with np.load(data) as stored:
            mine = slice(int(context.node_config["partition-id"]), EXAMPLES, CLIENTS)
            x, y = torch.from_numpy(stored["x"][mine]), torch.from_numpy(stored["y"][mine])
        layer = torch.nn.Linear(WIDTH, CLASSES)
        layer.load_state_dict(message.content["arrays"].to_torch_state_dict())  # type: ignore[union-attr]
        return layer, x, y

    @app.train()
    def train(message: Message, context: Context) -> Message:
        layer, x, y = opened(message, context)
        optimiser = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[rows]), y[rows]).backward()
            optimiser.step()
        metrics = MetricRecord({"num-examples": len(x)})
        arrays = ArrayRecord(layer.state_dict())
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        layer, x, y = opened(message, context)
        with torch.inference_mode():
            accuracy = float((layer(x).argmax(1) == y).float().mean())
        metrics = MetricRecord({"num-examples": len(x), "accuracy": accuracy})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def flower_seconds(data: Path, rounds: int) -> tuple[float, float]:
    """Return the seconds of one round of FedAvg in Flower's own engine, and those before it."""
    from flwr.simulation import run_simulation

    marks: list[float] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        def mark(server_round: int, arrays: ArrayRecord) -> MetricRecord:
            marks.append(time.perf_counter())
            return MetricRecord({"round": server_round})

        while len(list(grid.get_node_ids())) < CLIENTS:
            time.sleep(0.1)
        head = ArrayRecord(torch.nn.Linear(WIDTH, CLASSES).state_dict())
        FedAvg().start(grid, head, num_rounds=rounds, evaluate_fn=mark)

    began = time.perf_counter()
    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, linear_app(data), num_supernodes=CLIENTS, backend_config=resources)
    each = float(np.median(np.diff(marks)[1:]))
    return each, time.perf_counter() - began - each * rounds


def main(
    flower: Annotated[bool, typer.Option(help="Measure Flower's own engine as well.")] = True,
    rounds: Annotated[int, typer.Option(help="Rounds of Flower's own engine.")] = 10,
) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "features.npz"
        write_features(data)
        ours = compare_seconds(data, Path(folder) / "out")
        print(f"fedtl.compare, {len(ITERATIVE + ONE_ROUND)} strategies: {ours:.0f} s")
        if flower:
            each, around = flower_seconds(data, rounds)
            runs = SEEDS * len(ITERATIVE)
            total = runs * (ROUNDS * each + around)
            print(f"Flower's engine: {each:.2f} s a round, {around:.1f} s around a run;")
            print(
                f"  {runs} runs of {ROUNDS} rounds: {total:.0f} s, {total / ours:.0f} times as long"
            )


if __name__ == "__main__":
    typer.run(main)
