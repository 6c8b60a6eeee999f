"""What ``fedtl.describe`` says about a data set, as tables and as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedtl.data.dataset import Dataset
from fedtl.data.input_kinds import SOUND, kind_of
from fedtl.data.look import Look
from fedtl.data.seen_item import seen
from fedtl.data.site_distances import SiteDistances
from fedtl.data.understood import Understood, counted
from fedtl.report.described_columns import columns_tables
from fedtl.report.waveform import drawn_in_letters
from fedtl.wording import MISSING, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

_MOST_SITES, _MOST_IN_MATRIX, _MOST_CLASSES, _MOST_SIZES = 40, 6, 4, 5
_NAME_WIDTH = 18
# Letters that a recording is drawn with.
_BLOCKS = 12
_DISTANCES = (
    "mix, look: mean distance from the other sites, by shares of classes (0 to 1) and\n"
    "by what inputs look like (in standard deviations within sites)"
)


def described_mapping(
    understood: Understood, dataset: Dataset, look: Look, *, named: bool
) -> dict[str, Any]:
    """Return everything that is said, for JSON.

    Args:
        understood: The counts.
        dataset: The data.
        look: How some inputs look.
        named: Whether sites and files may be named.
    """
    names = _site_names(dataset, named=named)
    told = {"sentence": understood.sentence, **understood.to_mapping()}
    told["sizes"] = [
        {"width": width, "height": height, "pictures": count}
        for (width, height), count in look.sizes.items()
    ]
    told["lengths"] = look.lengths
    told["columns"] = [asdict(column) for column in look.columns]
    told["looked_at"] = look.looked_at
    told["unreadable"] = look.unreadable
    told["samples"] = [asdict(_sample(dataset, row, names, named=named)) for row in look.samples]
    told["per_site"] = {
        name: dict(zip(dataset.classes, counts, strict=True))
        for name, counts in zip(names, _per_site(dataset).tolist(), strict=True)
    }
    found = look.distances
    told["distances"] = (
        None
        if found is None
        else {
            "sites": names,
            "mix": _rounded(found.mix),
            "look": _rounded(found.look),
        }
    )
    return told


def described_tables(dataset: Dataset, look: Look, *, named: bool) -> list[Table | str]:
    """Return everything below the sentence; the arguments are those of ``described_mapping``."""
    names = _site_names(dataset, named=named)
    shown: list[Table | str] = []
    if look.sizes:
        shown += _sizes(look)
    if look.columns:
        shown += columns_tables(look.columns)
    if look.lengths:
        shown.append(look.lengths)
    if look.unreadable:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in look.unreadable.items())
        lost = sum(look.unreadable.values())
        shown.append(printable(f"cannot be decoded: {lost} of {look.looked_at}: {reasons}"))
    shown.append(_samples_table(dataset, look, names, named=named))
    found = look.distances
    if names:
        shown += _sites_table(dataset, found, names)
    if found is not None:
        if len(names) <= _MOST_IN_MATRIX:
            shown += [_matrix(found, names), "above the diagonal mix, below it look"]
        shown.append(_farthest(found, names))
    return shown


@dataclass(frozen=True)
class _Sample:
    """One input, as shown.

    Attributes:
        input: Its name, or a text itself; its number if names are not shown.
        of_class: Its class.
        site: Its site; empty if none is known.
        part: ``training``, ``test`` or ``unseen``.
        size: ``640×480``, ``12 words`` or ``0.43 s``; empty for features.
    """

    input: str
    of_class: str
    site: str
    part: str
    size: str


def _sample(dataset: Dataset, row: int, names: Sequence[str], *, named: bool) -> _Sample:
    site = ""
    if dataset.sites is not None:
        site = names[int(np.searchsorted(np.unique(dataset.sites), dataset.sites[row]))]
    unseen = dataset.unseen is not None and bool(dataset.unseen[row])
    size, name = "", dataset.keys[row] if named else str(row)
    if not isinstance(dataset.inputs, np.ndarray):
        item = dataset.inputs.load(row)
        size = seen(item).size
        if named and isinstance(item, str):
            name = f"“{' '.join(item.split())}”"
    return _Sample(
        input=name,
        of_class=dataset.classes[dataset.labels[row]],
        site=site,
        part="unseen" if unseen else "test" if dataset.test[row] else "training",
        size=size,
    )


def _site_names(dataset: Dataset, *, named: bool) -> list[str]:
    if dataset.sites is None:
        return []
    names = [str(name) for name in np.unique(dataset.sites)]
    return names if named else [f"site-{number}" for number in range(len(names))]


def _per_site(dataset: Dataset) -> NDArray[np.int64]:
    """Return inputs of each class at each site, shape ``(S, C)``."""
    if dataset.sites is None:
        return np.zeros((0, len(dataset.classes)), np.int64)
    site, classes = np.unique(dataset.sites, return_inverse=True)[1], len(dataset.classes)
    flat = np.bincount(site * classes + dataset.labels, minlength=(site.max() + 1) * classes)
    return flat.reshape(-1, classes)


def _table(*columns: str, numbers: int) -> Table:
    """Return an empty table whose last columns are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for place, title in enumerate(columns):
        right = place >= len(columns) - numbers
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    return table


def _sizes(look: Look) -> tuple[Table, str]:
    total = sum(look.sizes.values())
    widths, heights = zip(*look.sizes, strict=True)
    span = f"{_span(widths)} wide, {_span(heights)} high"
    many = f"; {counted(len(look.sizes), 'size')}, {span}" if len(look.sizes) > 1 else ""
    table = _table("Size", "Pictures", numbers=1)
    for (width, height), count in list(look.sizes.items())[:_MOST_SIZES]:
        table.add_row(f"{width}×{height}", f"{count:,}")
    return table, f"of {counted(total, 'picture')} looked at{many}"


def _span(sides: Sequence[int]) -> str:
    low, high = min(sides), max(sides)
    return f"{low} to {high}" if low < high else f"{low}"


def _samples_table(dataset: Dataset, look: Look, names: Sequence[str], *, named: bool) -> Table:
    samples = [_sample(dataset, row, names, named=named) for row in look.samples]
    sited, sized = bool(names), any(sample.size for sample in samples)
    titles = ["Sample", "Class", *(["Site"] if sited else []), "Part"]
    table = _table(*titles, *(["Size"] if sized else []), numbers=int(sized))
    # Eighty columns hold as much.
    width = _NAME_WIDTH + 4 if sited else 32
    for row, sample in zip(look.samples, samples, strict=True):
        quoted = sample.input.startswith("“") and len(sample.input) > width
        shown = f"{sample.input[: width - 2]}…”" if quoted else shortened(sample.input, width)
        cells = [shown, shortened(sample.of_class, _NAME_WIDTH)]
        cells += [shortened(sample.site, _NAME_WIDTH)] if sited else []
        size = f"{_drawn(dataset, row)}{sample.size}"
        table.add_row(*map(_plain, [*cells, sample.part, *([size] if sized else [])]))
    return table


def _drawn(dataset: Dataset, row: int) -> str:
    """Return how loud a recording is over time, drawn in letters; empty for other inputs."""
    if isinstance(dataset.inputs, np.ndarray) or kind_of(dataset.inputs) != SOUND:
        return ""
    return f"{drawn_in_letters(dataset.inputs.load(row), _BLOCKS)} "


def _sites_table(
    dataset: Dataset, found: SiteDistances | None, names: Sequence[str]
) -> list[Table | str]:
    """Return what each site holds, and how far it is from the others."""
    counts = _per_site(dataset)
    classes = dataset.classes if len(dataset.classes) <= _MOST_CLASSES else ()
    apart = ("Mix", "Look") if found is not None else ()
    unit = f"{dataset.unit.capitalize()}s"
    titles = [shortened(name, 10) for name in classes] or ["Classes"]
    table = _table("Site", unit, *titles, *apart, numbers=1 + len(titles) + len(apart))
    sizes = counts.sum(axis=1)
    for site in np.sort(np.argsort(-sizes, kind="stable")[:_MOST_SITES]).tolist():
        held = [f"{count:,}" for count in counts[site]]
        cells = held if classes else [str(int((counts[site] > 0).sum()))]
        if found is not None:
            cells += [_mean_of_others(found.mix, site), _mean_of_others(found.look, site)]
        table.add_row(_plain(shortened(names[site], _NAME_WIDTH)), f"{sizes[site]:,}", *cells)
    shown: list[Table | str] = [table]
    if len(names) > _MOST_SITES:
        shown.append(f"{_MOST_SITES} of {len(names):,} sites, the largest")
    if found is not None:
        shown.append(_DISTANCES)
    return shown


def _mean_of_others(distances: NDArray[np.float64], site: int) -> str:
    others = np.delete(distances[site], site)
    others = others[~np.isnan(others)]
    return f"{others.mean():.2f}" if len(others) else MISSING


def _matrix(found: SiteDistances, names: Sequence[str]) -> Table:
    short = [shortened(name, 10) for name in names]
    table = _table("Distance", *short, numbers=len(names))
    for row, name in enumerate(short):
        cells = []
        for column in range(len(names)):
            distances = found.mix if column > row else found.look
            cells.append("" if row == column else _number(distances[row, column]))
        table.add_row(_plain(name), *cells)
    return table


def _farthest(found: SiteDistances, names: Sequence[str]) -> str:
    """Return which two sites are farthest apart, by each distance."""
    parts = []
    for what, distances in (("mix of classes", found.mix), ("look", found.look)):
        if np.isnan(distances).all() or not np.nanmax(distances) > 0:
            continue
        first, second = divmod(int(np.nanargmax(distances)), len(names))
        parts.append(
            f"by {what} {names[first]} and {names[second]} ({distances[first, second]:.2f})"
        )
    return printable(f"farthest apart: {'; '.join(parts)}" if parts else "no two sites differ")


def _number(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.2f}"


def _rounded(distances: NDArray[np.float64]) -> list[list[float | None]]:
    return [
        [None if math.isnan(value) else round(value, 4) for value in row]
        for row in distances.tolist()
    ]


def _plain(text: str) -> Text:
    """Return a cell whose brackets are not markup."""
    from rich.text import Text

    return Text(printable(text))
