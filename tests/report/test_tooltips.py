"""What charts say to whoever points at them, held against the figures, and where they say it."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_comparison import comparison_of
from plausible_result import plausible_result
from read_back import NAMES, bar_titles, bars_of, pc, right, told
from sklearn.metrics import confusion_matrix
from unequal_run import CLASSES, Ran, recorded, titles_of

from fedtl.comparison.standings import standings
from fedtl.report.client_plots import client_plot
from fedtl.report.comparison_curves import accuracy_by_round
from fedtl.report.comparison_look import looks
from fedtl.report.comparison_plots import intervals
from fedtl.report.heat_maps import confusion_map, label_map
from fedtl.report.html import write_report
from fedtl.report.plots import accuracy_by_round as run_by_round
from fedtl.report.plots import score_ladder
from fedtl.report.spots import Spot, bands, strips
from fedtl.report.theme import figure_of, svg, themed

DRAWN = True


def titles(picture: str) -> list[str]:
    return [html.unescape(one) for one in re.findall(r"<title>([^<]*)</title>", picture)]


def boxes(picture: str) -> list[tuple[float, ...]]:
    """Return x, y, width and height of every spot."""
    found = re.findall(
        r'<rect class="spot" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)">', picture
    )
    return [tuple(map(float, one)) for one in found]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_spot_lies_where_its_data_lie(scale: str) -> None:
    """Axes without margins, so that positions follow by the rule of three."""
    with themed():
        figure = figure_of(200, 100)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.1, 0.2, 0.8, 0.6))
        axes.set(xlim=(1, 100), ylim=(0, 10), xscale=scale)
        middle = 10.0 if scale == "log" else 50.5
        spots = [Spot(axes, middle, 5, np.inf, 7.5, "here"), Spot(axes, 0, -5, 100, 20, "all")]
        picture = svg(figure, "some", "A figure.", spots=spots)
    assert boxes(picture) == [(100, 35, 80, 15), (20, 20, 160, 60)]
    assert titles(picture) == ["here", "all"]


def test_strips_and_bands_leave_no_gap() -> None:
    with themed():
        figure = figure_of(200, 100)
        axes = figure.subplots()
        axes.set(xlim=(1, 8), ylim=(2.5, -0.5))
        picture = svg(figure, "some", "A figure.", spots=strips(axes, (1, 2, 8), ("a", "b", "c")))
        across = boxes(picture)
        down = boxes(svg(figure, "some", "A figure.", spots=bands(axes, ("d", "e", "f"))))
        many = strips(axes, range(1, 2001), [str(one) for one in range(1, 2001)])
    assert len(many) <= 250
    for (x, _, width, _), (following, *_) in itertools.pairwise(across):
        assert x + width == pytest.approx(following, abs=0.11)
    assert across[1][2] / sum(one[2] for one in across) == pytest.approx(3.5 / 7, abs=0.01)
    for (_, y, _, height), (_, following, *_) in itertools.pairwise(down):
        assert y + height == pytest.approx(following, abs=0.11)


def test_cells_of_heat_maps_tell_their_counts() -> None:
    result = plausible_result()
    assert result.confusion is not None
    told = titles(confusion_map(result).svg)
    assert len(told) == np.count_nonzero(result.confusion)
    of = result.confusion[0].sum()
    share = 100 * result.confusion[0, 1] / of
    assert f"basophil: {result.confusion[0, 1]} of {of} taken for eosinophil, {share:.1f}%" in told
    held = titles(label_map(result).svg)
    assert len(held) == np.count_nonzero(result.label_counts) + len(result.clients)
    client, kind = np.unravel_index(result.label_counts.argmax(), result.label_counts.shape)
    count, total = result.label_counts[client, kind], result.label_counts[client].sum()
    name = result.client_names[client]
    assert f"{name}, {result.classes[kind]}: {count} examples, {100 * count / total:.1f}%" in held
    assert f"{name}: {total} examples" in held


def test_rounds_tell_their_figures() -> None:
    result = plausible_result(rounds=30)
    told = titles(run_by_round(result).svg)
    assert len(told) == 2 * 30, "of accuracy and of loss"
    row = result.rounds[11]
    assert told[11] == (
        f"round 12, 10 clients: federated {100 * row.accuracy:.1f}%, worst client "
        f"{100 * row.worst_client_accuracy:.1f}%, on new data "
        f"{100 * row.test_accuracy:.1f}%, held-out loss {row.loss:.3f}, training loss "
        f"{row.train_loss:.3f}"
    )
    ladder = titles(score_ladder(plausible_result(rounds=1)).svg)
    assert ladder[0] == (
        "accuracy: local-only 64.0%, federated 87.4%, corrected 89.3%, centralised 88.2%"
    )


def test_charts_of_a_comparison_tell_their_figures() -> None:
    curves = {"fedavg": [[0.5, 0.6], [0.5, 0.7]], "fed3r": [[0.8], [0.8]]}
    compared = comparison_of(curves)  # type: ignore[arg-type]
    at, look = standings(compared)[0], looks(compared.points, compared.plan.strategies)
    assert titles(accuracy_by_round(at, look).plot("rounds").svg) == [
        "round 1: fed3r 80.0% ± 0.0, fedavg 50.0% ± 0.0",
        f"round 2: fedavg 65.0% ± {100 * np.std([0.6, 0.7], ddof=1):.1f}",
    ]
    dots = titles(intervals(at, look).plot("dots").svg)
    assert [one.partition(";")[0] for one in dots] == [
        "fedavg: 65.0%, mean of 2 seeds",
        "fed3r: 80.0%, mean of 2 seeds",
    ]
    # Three shuffles of each seed, at -1, 0 and +4 points from the federated head.
    pooled = [level + step for level in (0.6, 0.7) for step in (-0.01, 0.0, 0.04)]
    spread = f"{100 * np.mean(pooled):.1f}% ± {100 * np.std(pooled, ddof=1):.1f}"
    assert dots[0].endswith(f"the same training on pooled data {spread}")


def test_cells_of_large_heat_maps_do_not_swell_the_page(tmp_path: Path) -> None:
    wide = plausible_result(
        clients=60, classes=tuple(f"class {index}" for index in range(100)), rounds=2
    )
    write_report(tmp_path / "report.html", wide)
    assert (tmp_path / "report.html").stat().st_size < 1_500_000


def test_distributions_of_many_clients_rise_with_accuracy() -> None:
    result = plausible_result(clients=80)
    with recorded("plot", "hist") as drawn:
        client_plot(result)
    curves = [args for name, args, _ in drawn if name == "plot"]
    ways = ("local_only", "federated", "corrected", "centralised")
    for way, (values, shares, _) in zip(ways, curves, strict=True):
        own = [row.accuracy(way) for row in result.clients]
        np.testing.assert_allclose(values, np.quantile(own, np.linspace(0, 1, 200)))
        np.testing.assert_allclose(shares, np.linspace(0, 1, 200))
    ((_, (parts,), _),) = [call for call in drawn if call[0] == "hist"]
    worse = [row for row in result.clients if row.verdict("federated") == "worse"]
    assert sorted(parts[0]) == sorted(row.gain("federated") for row in worse)
    assert len(parts[0]) + len(parts[1]) == 80


# --- of a whole run -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(unequal_run: Callable[..., Ran]) -> Ran:
    return unequal_run()


@pytest.fixture(scope="module")
def page(ran: Ran) -> str:
    return (ran.folder / "report.html").read_text(encoding="utf-8")


def test_bars_tell_whose_they_are_and_how_much_is_right(ran: Ran, page: str) -> None:
    rows = told(ran)
    gains = {n: own.mean() - float(rows[n]["local_only_accuracy"]) for n, own in right(ran).items()}
    order = sorted(NAMES, key=lambda name: -gains[name])
    ways = ("local_only", "federated", "corrected")
    for (way, titles), bars in zip(
        bar_titles(ran, *ways).items(), bars_of(ran, page, 3), strict=True
    ):
        assert set(bars) == set(titles)
        for title, (place, width) in bars.items():
            name = title.partition(",")[0]
            assert round(place) == order.index(name)
            assert width == pytest.approx(float(rows[name][f"{way}_accuracy"]), abs=1e-6)


def test_cells_and_totals_tell_their_counts(ran: Ran, page: str) -> None:
    expected = set()
    for name, train, held in ran.parts():
        counts = np.bincount(ran.data["y"][np.concatenate([train, held])], minlength=CLASSES)
        expected.add(f"{name}: {counts.sum()} examples")
        for label, count in enumerate(counts):
            examples = "1 example" if count == 1 else f"{count} examples"
            expected.add(f"{name}, {label}: {examples}, {pc(count / counts.sum())}")
    (labels,) = titles_of(page, "data")
    assert sorted(labels) == sorted(expected)
    held = np.concatenate([held for _, _, held in ran.parts()])
    matrix = confusion_matrix(ran.data["y"][held], ran.predicted(held))
    pairs = {
        f"{true}: {count} of {matrix[true].sum()} "
        f"{'recognised' if true == taken else f'taken for {taken}'}, "
        f"{pc(count / matrix[true].sum())}"
        for (true, taken), count in np.ndenumerate(matrix)
        if count
    }
    (confusion,) = titles_of(page, "confusion")
    assert sorted(confusion) == sorted(pairs)


def test_rounds_of_a_run_tell_their_figures(ran: Ran, page: str) -> None:
    expected = [
        f"round {row['round']}, 5 clients: federated {pc(row['accuracy'])}, worst client "
        f"{pc(row['worst_client_accuracy'])}, on new data {pc(row['test_accuracy'])}, held-out "
        f"loss {row['loss']:.3f}, training loss {row['train_loss']:.3f}"
        for row in ran.metrics()
    ]
    # Accuracies and losses, for a desk and for a telephone.
    assert titles_of(page, "accuracy") == [expected * 2] * 2
