"""Recordings as they are drawn: in letters at the terminal, and as pictures side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from in_process import complaint, finished
from PIL import Image

from fedtl import describe
from fedtl.data.sound import Sound
from fedtl.report.waveform import drawn_as_picture, drawn_in_letters, peaks


def _rising(seconds: float = 0.5, rate: int = 8000) -> Sound:
    """A tone that is silent at first, and as loud as can be in the end."""
    time = np.arange(round(seconds * rate)) / rate
    return Sound((np.sin(2 * np.pi * 440 * time) * time / seconds).astype(np.float32), rate)


def test_peaks_are_the_loudest_of_each_part() -> None:
    sound = _rising()
    found = peaks(sound, 8)
    expected = [np.abs(part).max() for part in np.split(sound.samples, 8)]
    np.testing.assert_allclose(found, np.array(expected) / max(expected), rtol=1e-6)
    assert drawn_in_letters(sound, 8) == "▁▂▃▄▅▆▇█"
    assert len(peaks(Sound(np.zeros(3, np.float32), 8000), 8)) == 3
    assert drawn_in_letters(Sound(np.zeros(9, np.float32), 8000), 3) == "▁▁▁"


def test_a_picture_is_as_dark_as_the_recording_is_loud() -> None:
    picture = drawn_as_picture(_rising())
    assert picture.shape == (192, 192, 3)
    inked = (picture.sum(2) < 500).sum(0)
    assert inked[:60].max() < inked[-60:].max() / 2
    assert inked[-60:].max() > 150


def test_describe_draws_recordings(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / "data" / ("low", "high")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number}.wav", _rising().samples, 8000)
    sheet = tmp_path / "sheet.png"
    end = finished(describe.main, "--data", tmp_path / "data", "--pictures", sheet)
    assert end.exit_code == 0, end.stderr
    assert end.stdout.count("▁▂▂▃▄▄▅▆▆▇██ 0.50 s") == 6
    assert Image.open(sheet).size == (3 * 198 + 6, 2 * 218 + 6)
    (tmp_path / "texts.csv").write_text("text,label\n" + "good,yes\nbad,no\n" * 9)
    said = complaint(describe.main, "--data", tmp_path / "texts.csv", "--pictures", sheet)
    assert said == "--pictures has nothing to show: the data are texts."
