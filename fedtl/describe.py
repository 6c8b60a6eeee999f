"""``python -m fedtl.describe``: how a run would read its data; nothing is trained."""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtl.command_line import absolute_paths, leave, run_command, with_config
from fedtl.config import RunConfig
from fedtl.config_file import from_mapping, from_toml, refuse_unchosen, toml_keys
from fedtl.config_key import kebab
from fedtl.config_keys.data import DataKeys
from fedtl.config_keys.every import rules
from fedtl.errors import FedtlError, UsageError

if TYPE_CHECKING:
    from fedtl.data.dataset import Dataset
    from fedtl.data.look import Look

# What rendered data depends on besides the keys of data.
_ALSO = ("clients", "seed", "pseudonyms")
_READ = {kebab(field.name) for field in dataclasses.fields(DataKeys)} | {*_ALSO}


@partial(with_config, without=[key for key in rules() if key not in _READ], options=True)
def main(
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of a run's keys.", metavar="FILE")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object on stdout, and nothing else.")
    ] = False,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures",
            help="Save nine pictures, or recordings drawn, with their classes there as one PNG.",
            metavar="FILE",
        ),
    ] = None,
    write_schema: Annotated[
        Path | None,
        typer.Option(
            "--write-schema",
            help="Write the sums over a table's columns there, for a schema that sites agree on.",
            metavar="FILE",
        ),
    ] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Show how a run would read its data: inputs, classes, sites, groups, splits.

    It shows picture sizes, what columns of a table hold, nine samples, what each site holds and how
    far apart sites are. Nothing is trained, and only the files of --pictures and --write-schema are
    written.
    """
    base = RunConfig() if config is None else from_toml(config)
    keys = flags.keys() | (toml_keys(config) if config is not None else set())
    chosen = absolute_paths(from_mapping(flags, where="the command line", base=base)).settled(keys)
    refuse_unchosen(flags, chosen)

    from rich.console import Console

    from fedtl.data.look import look_at
    from fedtl.data.schema_file import refuse_existing
    from fedtl.data.understood import Understood
    from fedtl.observers.progress import RunProgress
    from fedtl.preparation.opened_data import data_notes, open_data
    from fedtl.report.described import described_mapping, described_tables
    from fedtl.report.terminal import standard_output
    from fedtl.transfer.backbones import for_inputs, taken_for
    from fedtl.wording import printable

    if write_schema is not None:
        refuse_existing(write_schema.expanduser(), "--write-schema")
    dataset = open_data(chosen, own=write_schema is not None)
    for note in data_notes(chosen, dataset):
        print(f"warning: {printable(note)}", file=sys.stderr)
    console = Console(stderr=True)
    with RunProgress(console, quiet=as_json or not console.is_terminal) as progress:

        def show(done: int, count: int) -> None:
            progress.step(f"{dataset.unit}s looked at", done, count, "")

        dataset, grey = _on_one_scale(dataset, chosen)
        look = look_at(dataset, show)
    understood, named = Understood.of(dataset), not chosen.pseudonyms
    if pictures is not None:
        _save(pictures.expanduser(), dataset, look)
    if write_schema is not None:
        _write_sums(write_schema.expanduser(), dataset)
    if as_json:
        print(json.dumps(described_mapping(understood, dataset, look, named=named), indent=2))
        return
    output = standard_output()
    output.print(printable(understood.sentence), markup=False, highlight=False, soft_wrap=True)
    taken = for_inputs(chosen, dataset.inputs)
    if taken != chosen:
        output.print(taken_for(taken, dataset.inputs), soft_wrap=True)
    if grey:
        output.print(grey, soft_wrap=True)
    for shown in described_tables(dataset, look, named=named):
        output.print(shown, soft_wrap=isinstance(shown, str), markup=False, highlight=False)


def _on_one_scale(dataset: Dataset, config: RunConfig) -> tuple[Dataset, str]:
    """Return the data with its pictures on one grey scale, and notes on that scale."""
    import numpy as np

    from fedtl.data.grey_scanning import on_one_scale

    if isinstance(dataset.inputs, np.ndarray):
        return dataset, ""
    images, scale = on_one_scale(dataset.inputs, config.grey_limits)
    return dataclasses.replace(dataset, inputs=images), scale.note


def _save(path: Path, dataset: Dataset, look: Look) -> None:
    """Write the sampled pictures, or recordings as drawn, side by side under their classes."""
    import numpy as np

    from fedtl.data.input_kinds import PICTURE, SOUND, kind_of
    from fedtl.report.contact_sheet import contact_sheet
    from fedtl.report.waveform import drawn_as_picture
    from fedtl.wording import printable

    inputs = dataset.inputs
    if isinstance(inputs, np.ndarray) or kind_of(inputs) not in (PICTURE, SOUND):
        raise UsageError(f"--pictures has nothing to show: the data are {dataset.unit}s.")
    if not look.samples:
        raise FedtlError(f"None of the {look.looked_at} {dataset.unit}s looked at can be read.")
    names = [printable(dataset.classes[dataset.labels[row]]) for row in look.samples]
    try:
        items = [inputs.load(row) for row in look.samples]
        shown = [drawn_as_picture(item) for item in items] if kind_of(inputs) == SOUND else items
        contact_sheet(shown, names).save(path, "PNG")
    except OSError as error:
        raise FedtlError(
            f"{path} cannot be written: {error.strerror or error}; choose another --pictures."
        ) from error


def _write_sums(path: Path, dataset: Dataset) -> None:
    """Write the sums of a table's training rows; say what is not among them."""
    import numpy as np

    from fedtl.data.input_kinds import TABLE_ROW, kind_of
    from fedtl.data.rows import column_counts
    from fedtl.data.schema_file import write_sums
    from fedtl.data.table_sums import kinds_of, sums_to_give
    from fedtl.statistics.disclosure import SMALLEST_CELL

    items = dataset.inputs
    if isinstance(items, np.ndarray) or kind_of(items) != TABLE_ROW:
        raise UsageError(f"--write-schema is for rows of a table: the data are {dataset.unit}s.")
    counts = column_counts(items, dataset.training.tolist())
    kinds = kinds_of(counts, getattr(items, "category_columns", ()))
    sums, small = sums_to_give(counts, kinds, SMALLEST_CELL)
    write_sums(path, sums)
    many = f"{counts.rows:,} rows in {len(sums.columns):,} columns"
    print(f"{path}: sums over {many}", file=sys.stderr)
    if small:
        few = f"fewer than {SMALLEST_CELL} rows have a value, or one of only two values"
        print(f"warning: not among the columns: {', '.join(small)} ({few})", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
    leave()
