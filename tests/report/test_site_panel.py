"""The report's pictures by site and class: the right ones, whole, and a page that stays small."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from plausible_result import HOSTILE, plausible_result

from fedtl.data.hospitals import HospitalsOptions, hospitals_dataset
from fedtl.data.image_folder import image_folder
from fedtl.report.html import write_report
from fedtl.report.site_panel import panel_plot
from fedtl.results.detail import SitePanel
from fedtl.results.pictures import panel_of

DRAWN = True


def embedded(svg: str) -> NDArray[np.uint8]:
    """Return the one picture inside an SVG, shape ``(h, w, 4)``."""
    (content,) = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def flat(value: int, height: int = 40, width: int = 40) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def save(folder: Path, name: str, value: int, size: tuple[int, int] = (40, 40)) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(flat(value, *size)).save(path)


def values(pictures: Sequence[Sequence[NDArray[np.uint8] | None]]) -> list[list[int | None]]:
    return [[None if one is None else int(one[0, 0, 0]) for one in row] for row in pictures]


def test_a_folder_of_sites_shows_its_first_pictures(tmp_path: Path) -> None:
    for name, value in (
        ("york/cat/a.png", 10),
        ("york/cat/b.png", 11),
        ("york/dog/a.png", 20),
        ("bern/dog/z.png", 31),
        ("bern/dog/m.png", 30),
    ):
        save(tmp_path, name, value)
    panel = panel_of(image_folder(tmp_path))
    assert panel is not None
    assert (panel.sites, panel.classes) == (["bern", "york"], ["cat", "dog"])
    assert values(panel.pictures) == [[None, 30], [10, 20]]
    svg = panel_plot(panel).svg
    for name in ("bern", "york", "cat", "dog", "none"):
        assert svg.count(f">{name}<") == 1
    assert 'aria-label="Pictures of 2 classes at 2 sites."' in svg


def test_a_test_split_is_not_shown_and_data_without_sites_has_one_row(tmp_path: Path) -> None:
    for split, value in (("test", 1), ("train", 2)):
        for name in ("cat", "dog"):
            save(tmp_path, f"{split}/{name}/a.png", value)
    panel = panel_of(image_folder(tmp_path))
    assert panel is not None
    assert values(panel.pictures) == [[2, 2]]
    plot = panel_plot(panel)
    assert 'aria-label="Pictures of 2 classes."' in plot.svg and not plot.note


def test_many_sites_and_classes_are_cut_and_said_to_be(tmp_path: Path) -> None:
    for site in range(9):
        save(tmp_path, f"site {site}/common/{site}.png", 50)
    for name in range(12):
        save(tmp_path, f"site 0/class {name:02d}/a.png", name)
        save(tmp_path, f"site 0/class {name:02d}/b.png", name)
    save(tmp_path, "site 3/class 11/c.png", 99)
    panel = panel_of(image_folder(tmp_path))
    assert panel is not None
    assert panel.sites == [f"site {site}" for site in range(8)]
    # By number of pictures; equals in the order of their names.
    assert panel.classes == [*(f"class {name:02d}" for name in [*range(8), 11]), "common"]
    assert values(panel.pictures)[3] == [*[None] * 8, 99, 50]
    assert panel_plot(panel).note == "1 more site not shown. 3 rarer classes not shown."


def test_pictures_are_whole_square_and_apart() -> None:
    tall = np.concatenate([flat(0, 10, 20), flat(200, 20, 20), flat(0, 10, 20)])
    panel = SitePanel(["", ""], ["a", "b"], [[flat(100, 20, 20), tall], [None, flat(50, 80, 90)]])
    montage = embedded(panel_plot(panel).svg)
    side, gap = 80, round(0.07 * 80)
    assert montage.shape == (2 * side + gap, 2 * side + gap, 4)
    middle = side // 2, side + gap + side // 2
    shown = [[tuple(map(int, montage[y, x])) for x in middle] for y in middle]
    assert shown == [
        [(100, 100, 100, 255), (200, 200, 200, 255)],
        [(0, 0, 0, 0), (50, 50, 50, 255)],
    ]
    # Not a line of what lies beyond the square in the middle, nor anything between the pictures.
    assert (montage[1:side, side + gap + side // 2, 0] == 200).all()
    assert not montage[side : side + gap, :, 3].any()


def test_rendered_pictures_are_shown_as_they_are() -> None:
    data = hospitals_dataset(0, HospitalsOptions(images=600, test_images=16))
    panel = panel_of(data)
    assert panel is not None and data.sites is not None
    svg = panel_plot(panel).svg
    montage = embedded(svg)
    for site, column in ((0, 0), (2, 5), (4, 7)):
        there = np.flatnonzero(
            (data.sites == panel.sites[site]) & (data.labels == column) & ~data.test
        )
        y, x = 68 * site, 68 * column
        cell = montage[y : y + 64, x : x + 64]
        opaque = cell[:, :, 3] == 255
        assert opaque.mean() > 0.98
        assert np.array_equal(cell[opaque][:, :3], data.inputs.load(int(there[0]))[opaque])  # type: ignore[union-attr]
    assert len(svg) < 600_000


@pytest.mark.parametrize("count", [1, 10])
def test_the_largest_noise_stays_within_the_page(count: int) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    panel = SitePanel([f"s{row}" for row in range(8)], ["c"] * count, [[noise] * count] * 8)
    assert len(panel_plot(panel).svg) < 800_000


def test_the_page_shows_the_panel_and_hostile_names_as_text(tmp_path: Path) -> None:
    panel = SitePanel(HOSTILE, HOSTILE, [[flat(9)] * len(HOSTILE)] * len(HOSTILE))
    for samples in (True, False):
        result = replace(plausible_result(with_samples=samples), panel=panel)
        write_report(tmp_path / "report.html", result)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "The first training image of every class at every site" in page
        assert page.count('aria-label="Pictures of 5 classes at 5 sites."') == 1
        assert page.count("<script") == 1 and "\x1b" not in page


def test_embeddings_have_no_panel() -> None:
    data = hospitals_dataset(0, HospitalsOptions(images=16, test_images=0))
    assert panel_of(replace(data, inputs=np.zeros((16, 3), np.float32))) is None
