"""``python -m fedtl.pretrain``: rebuild the shipped backbone, fedtl-tiny, from a seed.

No natural picture is involved. The dictionary learns from dead leaves, the residual network from an
invented world of textured shapes; see ``fedtl.pretraining``. The target of the default run, blood
cells, is in neither.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from fedtl.command_line import leave, run_command
from fedtl.errors import FedtlError, UsageError
from fedtl.interruption import in_hand
from fedtl.pretraining.dead_leaves import dead_leaves
from fedtl.pretraining.dictionary import learn_dictionary
from fedtl.pretraining.learning import learn
from fedtl.pretraining.recipe import FORMAT, Recipe
from fedtl.pretraining.rendering import render_world
from fedtl.transfer.devices import device_named

# Sums are split among threads, and their number is felt in the last bit.
_THREADS = 2

# Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


def recipe_metadata(recipe: Recipe) -> dict[str, str]:
    """Return what the weights file says about its origin.

    It is a single entry, because safetensors writes several in an order that changes.
    """
    return {"origin": f"fedtl-tiny, format {FORMAT}: {recipe.command()}"}


def pretrain(
    recipe: Recipe, out: Path, work: Path, *, device: str, resume: bool, on_progress: Progress
) -> None:
    """Render, learn, and write the weights file: the network in half precision.

    The dictionary is small and stays in single precision, so that its atoms still sum to zero.

    The same recipe gives the same bytes on machines of one kind of CPU with the same PyTorch,
    whatever the number of cores and whether or not the run was interrupted and resumed.

    Args:
        recipe: Everything that determines the weights.
        out: File to write, ``.safetensors``.
        work: Folder for the rendered world and the checkpoint, made if needed and removed at the
            end.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.
        resume: Whether to go on with an interrupted run in ``work``, if there is one.
        on_progress: Called after each part of the work.

    Raises:
        FedtlError: A file cannot be written, or learning diverged.
        UsageError: There is no such device, or there is an interrupted run that is not resumed or
            has another recipe.
    """
    from safetensors.torch import save

    device = device_named(device).type
    try:
        if work.exists() and not resume:
            raise UsageError(
                f"{work} holds an unfinished run: continue it with --resume, or remove it."
            )
        work.mkdir(parents=True, exist_ok=True)
        with _threads(_THREADS):
            dictionary = _dictionary(recipe, on_progress)
            network = _network(recipe, work, device, resume, on_progress)
        half = {key: tensor.half().contiguous() for key, tensor in network.items()}
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_name(f".{out.name}.tmp")
        temporary.write_bytes(save(dictionary | half, recipe_metadata(recipe)))
        temporary.replace(out)
        shutil.rmtree(work)
    except OSError as error:
        raise FedtlError(f"{error.filename or out} cannot be written: {error.strerror}.") from error


def _dictionary(recipe: Recipe, on_progress: Progress) -> dict[str, torch.Tensor]:
    def rendering(done: int, total: int) -> None:
        on_progress("rendering dead leaves", done, total)

    def learning(done: int, total: int) -> None:
        on_progress("learning the dictionary", done, total)

    pictures = dead_leaves(recipe.leaves, recipe.seed, rendering)
    filters, thresholds = learn_dictionary(pictures, recipe, learning)
    return {
        "dictionary.filters": torch.from_numpy(filters),
        "dictionary.thresholds": torch.from_numpy(thresholds),
    }


def _network(
    recipe: Recipe, work: Path, device: str, resume: bool, on_progress: Progress
) -> dict[str, torch.Tensor]:
    def rendering(kinds: int) -> None:
        on_progress("rendering the world", kinds, recipe.kinds)

    def learning(steps: int, loss: float) -> None:
        on_progress(f"learning the network, loss {loss:.2f}", steps, recipe.steps)

    world = render_world(recipe, work / "world.npy", rendering)
    state = learn(
        world,
        recipe,
        device=device,
        checkpoint=work / "checkpoint.pt",
        resume=resume,
        on_step=learning,
    )
    return {f"network.{key}": tensor for key, tensor in state.items()}


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("fedtl-tiny.safetensors"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = Recipe.seed,
    kinds: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="Kinds of things in the world.")
    ] = Recipe.kinds,
    pictures: Annotated[
        int, typer.Option(min=2, max=1000, help="Pictures of each kind.")
    ] = Recipe.pictures,
    steps: Annotated[int, typer.Option(min=1, help="Steps of learning.")] = Recipe.steps,
    batch: Annotated[int, typer.Option(min=4, help="Pictures in a step.")] = Recipe.batch,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, max=1.0, help="At its peak.")
    ] = Recipe.learning_rate,
    leaves: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Dead-leaves pictures.")
    ] = Recipe.leaves,
    patches: Annotated[
        int, typer.Option(min=1000, max=10_000_000, help="Patches of them.")
    ] = Recipe.patches,
    iterations: Annotated[
        int, typer.Option(min=1, max=1000, help="Of k-means on the patches.")
    ] = Recipe.iterations,
) -> None:
    """Rebuild fedtl-tiny's weights on rendered pictures only, deterministically from the seed.

    It takes about an hour and a half on two CPU cores; after Ctrl-C, --resume goes on.
    """
    recipe = Recipe(seed, kinds, pictures, steps, batch, learning_rate, leaves, patches, iterations)
    console = Console(stderr=True)
    work = out.with_name(f"{out.name}.work")

    def interrupted() -> str:
        return f"{work} holds what was done; go on with --resume" if work.exists() else ""

    with in_hand(interrupted), _bars(console) as on_progress:
        pretrain(recipe, out, work, device=device, resume=resume, on_progress=on_progress)
    console.print(f"wrote {out}", markup=False)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    """Show a progress bar per kind of work; its text may change."""
    with Bars(console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            kind = what.partition(",")[0]
            if kind not in tasks:
                tasks[kind] = bars.add_task(what, total=total)
            bars.update(tasks[kind], completed=done, description=what)

        yield update


if __name__ == "__main__":
    run_command(main)
    leave()
