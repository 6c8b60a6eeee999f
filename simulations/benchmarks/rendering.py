"""How many pictures of `hospitals` are rendered in a second, by one process and by one per core.

    python simulations/benchmarks/rendering.py
    python simulations/benchmarks/rendering.py --size 224 --pictures 300

Each figure is the best of several repeats: the speed of the machine without other work.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated

import numpy as np
import typer

from fedtl.data.hospitals import HospitalsOptions
from fedtl.data.hospitals.pictures import HospitalImages, hospitals_dataset


def render(options: HospitalsOptions, process: int) -> tuple[float, float]:
    """Render a process's own pictures; return when that began and ended, in seconds."""
    images = hospitals_dataset(process, options).inputs
    assert isinstance(images, HospitalImages)
    began = time.monotonic()
    images.load_batch(np.arange(options.images))
    return began, time.monotonic()


def pictures_per_second(options: HospitalsOptions, processes: int, repeats: int) -> float:
    """Return the best rate of so many processes at once, each with ``options.images`` pictures."""
    rates = []
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for _ in range(repeats + 1):
            spans = [pool.submit(render, options, number) for number in range(processes)]
            began, ended = zip(*(span.result() for span in spans), strict=True)
            rates.append(processes * options.images / (max(ended) - min(began)))
    # The first repeat also imports and warms up.
    return max(rates[1:])


def main(
    pictures: Annotated[int, typer.Option(min=1, help="Of each process.")] = 2000,
    size: Annotated[int, typer.Option(min=16, help="Width and height in pixels.")] = 64,
    repeats: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Measure and print."""
    options = HospitalsOptions(images=pictures, size=size)
    cores = len(os.sched_getaffinity(0))
    for processes in sorted({1, cores}):
        rate = pictures_per_second(options, processes, repeats)
        name = "process" if processes == 1 else "processes"
        print(f"{processes:3} {name:9} {rate:8,.0f} pictures of {size}x{size} a second")


if __name__ == "__main__":
    typer.run(main)
