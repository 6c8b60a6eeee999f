"""The quality of a frozen backbone: a ridge probe's accuracy on several tasks, with baselines.

    python simulations/benchmarks/backbones.py                      everything, under an hour
    python simulations/benchmarks/backbones.py --tasks malaria,pacs-photo --candidates pixels,random
    python simulations/benchmarks/backbones.py --weights new=new.safetensors --json new.json

A seed draws the split, the penalty's validation part, rendered pictures and the random weights.
Baselines are `pixels`, the picture squeezed to 32x32; `random`, fedtl-tiny with random weights; and
`dictionary`, 512 features of its dictionary alone, at every pixel of the picture squeezed to 32x32.
ants-bees always has the same 153 test pictures, so its deviation shows how much the penalty
matters, not how sure the accuracy is: a single picture is .007.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from fedtl.config import RunConfig
from fedtl.data.dataset import Dataset, Images
from fedtl.data.holdout import Rows
from fedtl.data.sources import open_dataset
from fedtl.determinism import generator
from fedtl.errors import FedtlError
from fedtl.transfer.backbones import DEFAULT, RANDOM, TINY, Backbone, load_backbone
from fedtl.transfer.dictionary import ConvolutionalDictionary
from fedtl.transfer.inference import Extractor, Prepared
from fedtl.transfer.preprocessing import Preprocessing
from fedtl.transfer.tiny import FILTERS, PATCH, TinyBackbone
from fedtl.transfer.weights_file import used_tensors
from simulations.benchmarks.backbone_tasks import (
    COLUMNS,
    DOMAIN_MEAN,
    DOMAIN_TASKS,
    HOSPITALS,
    TASKS,
)
from simulations.benchmarks.ridge_probe import Features, probe

PIXELS, DICTIONARY = "pixels", "dictionary"
IMAGENET = {
    "squeezenet1_1": "squeezenet1_1_imagenet_fp16.safetensors",
    "mobilenet_v2": "mobilenet_v2_imagenet_fp16.pth",
}
BUILT_IN = (PIXELS, RANDOM, DICTIONARY, TINY, *IMAGENET)
SHARED = Path("../shared")
WARM_UP_SECONDS, TIMED_SECONDS = 1.0, 3.0
# More than any machine takes in that time.
TIMED_PICTURES = 5_000_000


def backbone_of(architecture: str, weights: str, *, seed: int) -> Backbone:
    """Return a backbone at its native picture size."""
    squeeze = Preprocessing(32, None, "BILINEAR", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if architecture == PIXELS:
        return Backbone(PIXELS, 3 * 32**2, nn.Flatten(), squeeze, fingerprint="")
    if architecture == DICTIONARY:
        tiny = load_backbone(TINY, weights=weights, image_size=0, seed=seed)
        learnt = cast(TinyBackbone, tiny.network).dictionary
        part = ConvolutionalDictionary(FILTERS, PATCH)
        part.load_state_dict(learnt.state_dict())
        return Backbone(DICTIONARY, part.feature_size, part, squeeze, fingerprint="")
    return load_backbone(architecture, weights=weights, image_size=0, seed=seed)


class _NetworkAlone(Extractor):
    """Runs the same preprocessed batch of random pictures again and again."""

    def __init__(self, backbone: Backbone) -> None:
        none = cast(Images, ())
        super().__init__(none, backbone, precision="float32", device="cpu", workers=None)
        prepared = cast(Preprocessing, backbone.preprocessing)
        shape = (self._batch_size(0), prepared.image_size, prepared.image_size, 3)
        noise = generator(0, "benchmark noise").integers(0, 256, shape, dtype=np.uint8)
        self._ready = prepared.normalise(noise)

    def _prepared(self, slots: Rows, first: Rows) -> Prepared:
        return Prepared(slots.tolist(), [], 0, {})

    def _collated(self, batch: Prepared) -> tuple[Tensor, ...]:
        return (self._ready,)


def images_per_second(backbone: Backbone) -> float:
    """Return how many preprocessed pictures a second the network takes on all cores."""
    slots = np.arange(TIMED_PICTURES)
    began = time.perf_counter()
    warm, done = 0.0, 0
    for batch in _NetworkAlone(backbone).run(slots, slots):
        now = time.perf_counter()
        if warm:
            done += len(batch.slots)
            if now - warm > TIMED_SECONDS:
                break
        elif now - began > WARM_UP_SECONDS:
            warm = now
    return done / (now - warm)


def extracted(dataset: Dataset, backbone: Backbone, rows: Rows) -> Features:
    """Return the features of the pictures at ``rows``; the other rows stay zero."""
    images, every = cast(Images, dataset.inputs), np.arange(len(dataset))
    extractor = Extractor(images, backbone, precision="float32", device="auto", workers=None)
    features = np.zeros((len(dataset), backbone.feature_size), np.float32)
    for batch in extractor.run(rows, every):
        if batch.unreadable:
            raise FedtlError(f"{dataset.name} has pictures that cannot be decoded.")
        features[batch.slots] = batch.features
    return features


@dataclass
class Result:
    """What was measured of a candidate; accuracies and penalties by task, for each seed."""

    features: int
    bytes: int
    images_per_second: float | None
    accuracy: dict[str, list[float]] = field(default_factory=dict)
    penalty: dict[str, list[float]] = field(default_factory=dict)


def measure_source(
    result: Result, backbone: Backbone, images: Path, tasks: Sequence[str], seeds: Sequence[int]
) -> None:
    """Add the accuracy of tasks that share their pictures; those are the same for all seeds."""
    began, source = time.perf_counter(), TASKS[tasks[0]].source
    spec = source if source == HOSPITALS else str(images / source)
    dataset = open_dataset(RunConfig(data=spec, seed=seeds[0], hospitals_sites=5))
    splits = [(task, TASKS[task].split(dataset, seed)) for task in tasks for seed in seeds]
    rows = np.unique(np.concatenate([part for _, split in splits for part in split]))
    features = extracted(dataset, backbone, rows)
    between = time.perf_counter()
    for task, split in splits:
        accuracy, penalty = probe(features, dataset.labels, split)
        result.accuracy.setdefault(task, []).append(accuracy)
        result.penalty.setdefault(task, []).append(penalty)
    took = f"features {between - began:.1f} s, probes {time.perf_counter() - between:.1f} s"
    print(f"  {source}, seeds {seeds}, {len(rows)} pictures: {took}", flush=True)


def measured(
    load: Callable[..., Backbone], random: bool, images: Path, tasks: Sequence[str], seeds: int
) -> Result:
    """Return a candidate's result; ``random`` says that its weights depend on the seed."""
    backbone = load(seed=0)
    values = sum(tensor.numel() for _, tensor in used_tensors(backbone.network))
    speed = images_per_second(backbone) if values else None
    result = Result(backbone.feature_size, 2 * values, speed)
    for source in dict.fromkeys(TASKS[task].source for task in tasks):
        here = [task for task in tasks if TASKS[task].source == source]
        alone = random or source == HOSPITALS
        for group in [[seed] for seed in range(seeds)] if alone else [list(range(seeds))]:
            measure_source(result, load(seed=group[0]), images, here, group)
    if set(DOMAIN_TASKS) <= set(tasks):
        by_seed = zip(*(result.accuracy[task] for task in DOMAIN_TASKS), strict=True)
        result.accuracy[DOMAIN_MEAN] = [statistics.mean(domains) for domains in by_seed]
    return result


def cells(results: Mapping[str, Result], between: str) -> Iterator[list[str]]:
    """Yield the table's header and lines; ``between`` parts a mean from its deviation."""

    def accuracy(values: Sequence[float]) -> str:
        mean = f"{statistics.mean(values):.3f}".removeprefix("0")
        spread = f"{statistics.stdev(values):.3f}".removeprefix("0") if len(values) > 1 else ""
        return f"{mean}{between}±{spread}" if spread else mean

    shown = [task for task in COLUMNS if any(task in each.accuracy for each in results.values())]
    yield ["backbone", "features", "MB", "images/s", *shown]
    for name, result in results.items():
        speed = f"{result.images_per_second:,.0f}" if result.images_per_second else "–"
        cost = [f"{result.features:,}", f"{result.bytes / 1e6:.2f}", speed]
        yield [name, *cost, *(accuracy(result.accuracy[task]) for task in shown)]


def print_table(results: Mapping[str, Result]) -> None:
    """Print for a terminal of 120 columns."""
    header, *lines = cells(results, between="\n")
    table = Table(box=box.SIMPLE_HEAD, title="Accuracy of a ridge probe on frozen features")
    for column, text in enumerate(header):
        folded = text.replace("-", "\n").replace("_", "\n") if column else text
        table.add_column(folded, justify="right" if column else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def print_markdown(results: Mapping[str, Result]) -> None:
    """Print for the documentation."""
    header, *lines = cells(results, between=" ")
    for line in (header, ["---", *["---:"] * (len(header) - 1)], *lines):
        print(f"| {' | '.join(line)} |")


def selected(names: str, files: Mapping[str, Path | None]) -> list[str]:
    """Return what a comma-separated list names, all if empty; say which files are not there."""
    wanted = names.split(",") if names else list(files)
    if unknown := set(wanted) - set(files):
        raise typer.BadParameter(f"{sorted(unknown)[0]!r} is not one of {', '.join(files)}.")
    absent = [name for name in wanted if (file := files[name]) and not file.exists()]
    for name in absent:
        print(f"{name} is left out: there is no {files[name]}.")
    return [name for name in files if name in wanted and name not in absent]


def further(options: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the candidates of ``--weights NAME=FILE``."""
    pairs = [option.partition("=") for option in options]
    for name, _, file in pairs:
        if name in BUILT_IN or not Path(file).is_file():
            raise typer.BadParameter(f"{name}={file}: the name is taken, or there is no such file.")
    return {name: (TINY, file) for name, _, file in pairs}


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0.")] = 3,
    tasks: Annotated[str, typer.Option(help=f"Of {', '.join(TASKS)}.")] = "",
    candidates: Annotated[str, typer.Option(help=f"Of {', '.join(BUILT_IN)}.")] = "",
    weights: Annotated[list[str] | None, typer.Option(help="fedtl-tiny's, as NAME=FILE.")] = None,
    images: Annotated[Path, typer.Option(help="Folder of zips.")] = SHARED / "data",
    imagenet: Annotated[Path, typer.Option(help="Folder of weights.")] = SHARED / "weights",
    raw: Annotated[Path | None, typer.Option("--json", help="Write the raw numbers.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Measure and print."""
    own = {
        PIXELS: (PIXELS, ""),
        RANDOM: (TINY, RANDOM),
        DICTIONARY: (DICTIONARY, DEFAULT),
        TINY: (TINY, DEFAULT),
    }
    more = further(weights or [])
    files = {name: imagenet / file for name, file in IMAGENET.items()}
    known = own | more | {name: (name, str(file)) for name, file in files.items()}
    zips = {task: None if task == HOSPITALS else images / TASKS[task].source for task in TASKS}
    shown = selected(tasks, zips)
    wanted = ",".join([candidates, *more]) if candidates else ""
    results = {}
    for name in selected(wanted, {name: files.get(name) for name in known}):
        print(name, flush=True)
        load = partial(backbone_of, *known[name])
        results[name] = measured(load, name == RANDOM, images, shown, seeds)
    if raw:
        numbers = {name: asdict(result) for name, result in results.items()}
        raw.write_text(json.dumps({"seeds": seeds, "candidates": numbers}, indent=1))
    (print_markdown if markdown else print_table)(results)


if __name__ == "__main__":
    typer.run(main)
