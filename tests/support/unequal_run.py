"""One small run of unequal clients with a test split, with all that it wrote, drew and said."""

from __future__ import annotations

import csv
import html
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from in_process import Finished, finished
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor

from fedtl import simulate
from fedtl.client import alone
from fedtl.federation.checkpoint import Checkpoint
from fedtl.observers.run_folder import RunFolder
from fedtl.transfer.lone_head import LoneHead

CLASSES, WIDTH, ROUNDS = 4, 40, 6
# The names are in another order than the sizes. At Odd, classes mean something else.
SIZES = {"Dale": 120, "Odd": 150, "Ashe": 200, "Crow": 560, "Bray": 420}
TESTED = 160
FLAGS = ("--partition", "natural", "--rounds", ROUNDS, "--held-out", 0.7, "--engine", "inline")
FLAGS += ("--learning-rate", 0.004, "--seed", 3)
# With heads of clients' own, and without a site.
AWAY, EPOCHS = "Crow", 2
PERSONAL = ("--rounds", 1, "--personalise", EPOCHS, "--holdout-site", AWAY)
RECORDED = ("plot", "barh", "imshow", "axhline", "axvline", "set_xlabel", "set_ylabel")
RECORDED += ("set_yticks", "hist")
Rows = NDArray[np.int64]


def write_data(path: Path) -> dict[str, NDArray[Any]]:
    """Write features of unequal sites whose labels differ in frequency; return them."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(CLASSES, WIDTH))
    x, y, site = [], [], []
    for at, (name, size) in enumerate([*SIZES.items(), ("Ashe", TESTED)]):
        tested = at == len(SIZES)
        mix = np.full(CLASSES, 0.25) if tested else rng.dirichlet(np.full(CLASSES, 4.0))
        labels = rng.choice(CLASSES, size, p=mix)
        meant = (labels + (name == "Odd")) % CLASSES
        x.append(0.36 * centres[meant] + rng.normal(size=(size, WIDTH)))
        y.append(labels)
        site += [name] * size
    arrays = {
        # Of unlike scales, so that standardisation matters.
        "x": (np.concatenate(x) * np.linspace(0.1, 5, WIDTH) + 3).astype(np.float32),
        "y": np.concatenate(y),
        "site": np.array(site),
        "test": np.arange(len(site)) >= sum(SIZES.values()),
    }
    np.savez(path, **arrays)
    return arrays


@dataclass(frozen=True)
class Ran:
    """What a run left.

    Attributes:
        data: What it learnt from.
        folder: The run folder.
        end: What it printed.
        heads: The head after each round, on standardised features.
        standardisation: Mean and scale.
        drawn: Calls of matplotlib's axes: which, its positional and its named arguments.
        lone: The best heads of clients' own rows, by partition id, and of all rows.
        bars: What every bar has for its title: its identifier, its place and its width.
        hatched: Widths of bars that are hatched.
    """

    data: dict[str, NDArray[Any]]
    folder: Path
    end: Finished
    heads: list[dict[str, NDArray[np.floating]]]
    standardisation: list[tuple[NDArray[np.float32], NDArray[np.float32]]]
    drawn: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
    lone: list[LoneHead]
    bars: dict[str, tuple[float, float]]
    hatched: list[float]

    def config(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "config.toml").read_text())

    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return content

    def metrics(self) -> list[dict[str, Any]]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def parts(self) -> list[tuple[str, Rows, Rows]]:
        """Return each client's name, training and held-out rows."""
        split = json.loads((self.folder / "partition.json").read_text())
        return [
            (one["name"], np.array(one["train"]), np.array(one["held-out"]))
            for one in split["clients"]
        ]

    def head(self) -> dict[str, NDArray[np.float32]]:
        """Return what the head's file holds."""
        found: dict[str, NDArray[np.float32]] = load_file(self.folder / "head.safetensors")
        return found

    def predicted(self, rows: Rows) -> Rows:
        """Return what the final head says of rows."""
        head, (mean, scale) = self.heads[-1], self.standardisation[-1]
        z = (self.data["x"][rows].astype(np.float64) - mean) * scale
        said: Rows = (z @ head["weight"].T.astype(np.float64) + head["bias"]).argmax(1)
        return said

    def calls(self, method: str, **named: object) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Return the arguments of the calls of a method with such named arguments."""
        return [
            (args, given)
            for name, args, given in self.drawn
            if name == method and all(given.get(key) == value for key, value in named.items())
        ]


@contextmanager
def recorded(*methods: str) -> Iterator[list[tuple[str, tuple[Any, ...], dict[str, Any]]]]:
    """Note what is drawn with some methods of matplotlib's axes."""
    from matplotlib.axes import Axes

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def noted(name: str) -> Any:
        method = getattr(Axes, name)

        def call(axes: Axes, *args: Any, **named: Any) -> Any:
            calls.append((name, args, named))
            return method(axes, *args, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in methods:
            patch.setattr(Axes, name, noted(name))
        yield calls


def run_of(folder: Path, *flags: object) -> Ran:
    """Run once in a folder; of its charts nothing is drawn but where bars lie."""
    data = write_data(folder / "x.npz")
    ran = Ran(data, folder / "run", Finished(0, "", ""), [], [], [], [], {}, [])
    keep, solve = RunFolder.checkpoint, alone.best_lone_head

    def noting(journal: RunFolder, checkpoint: Checkpoint) -> None:
        ran.heads.append({name: np.array(value) for name, value in checkpoint.arrays.items()})
        if (one := checkpoint.standardisation) is not None:
            ran.standardisation.append((one.mean, one.scale))
        keep(journal, checkpoint)

    solved_of: list[tuple[int, LoneHead]] = []

    def solved(features: Tensor, *arguments: Any, **named: Any) -> LoneHead:
        solved_of.append((len(features), solve(features, *arguments, **named)))
        return solved_of[-1][1]

    def barely(figure: Figure, file: IO[str], *options: object) -> None:
        named = []
        for bar in (bar for axes in figure.axes for bar in axes.patches):
            assert isinstance(bar, Rectangle)
            if gid := bar.get_gid():
                ran.bars[gid] = bar.get_y() + bar.get_height() / 2, bar.get_width()
                named.append(f'<g id="{gid}"></g>')
            if bar.get_hatch():
                ran.hatched.append(bar.get_width())
        file.write(f'<svg version="1.1" width="1pt" height="1pt">{"".join(named)}</svg>')

    with (
        pytest.MonkeyPatch.context() as patch,
        recorded(*RECORDED) as drawn,
    ):
        patch.setattr(RunFolder, "checkpoint", noting)
        patch.setattr(alone, "best_lone_head", solved)
        patch.setattr("fedtl.report.theme.write_figure", barely)
        data_flag = f"features:{folder / 'x.npz'}"
        end = finished(simulate.main, "--data", data_flag, *FLAGS, *flags, "--out", folder / "run")
    assert end.exit_code == 0, end.stderr
    # All rows together are solved for in a thread, whenever it gets to it.
    of_all = max(solved_of, key=lambda one: one[0])
    lone = [head for count, head in solved_of if count < of_all[0]]
    return replace(ran, end=end, drawn=drawn, lone=[*lone, of_all[1]])


def tables_of(page: str, section: str) -> list[list[list[str]]]:
    """Return the tables in a section of a page, as rows of cells; a row's class comes first."""
    (content,) = re.findall(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)
    return [
        [[style, *map(_text, cells)] for style, cells in _rows(table)]
        for table in re.findall(r"<table.*?</table>", content, re.DOTALL)
    ]


def titles_of(page: str, section: str) -> list[list[str]]:
    """Return what the parts of each picture in a section of a page say, picture by picture."""
    (content,) = re.findall(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)
    return [
        [html.unescape(one) for one in re.findall(r"<title>([^<]*)</title>", picture)]
        for picture in re.findall(r"<figure.*?</figure>", content, re.DOTALL)
    ]


def _rows(table: str) -> Iterator[tuple[str, list[str]]]:
    for attributes, row in re.findall(r"<tr([^>]*)>(.*?)</tr>", table, re.DOTALL):
        style = re.search(r'class="([^"]*)"', attributes)
        yield style[1] if style else "", re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)


def _text(cell: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", cell)).split())
