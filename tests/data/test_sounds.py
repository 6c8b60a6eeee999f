"""Recordings: decoded from any file, brought to one rate, and what is wrong with some."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.input_kinds import PICTURE, SOUND, kind_of
from fedtl.data.sound import Sound, decoded
from fedtl.data.sources import open_dataset
from fedtl.errors import UnreadableImageError
from fedtl.transfer.sound_preparation import SoundPreparation, resampled


def tone(seconds: float, rate: int, hertz: float = 440.0) -> NDArray[np.float32]:
    """Return a sine of amplitude ½."""
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def encoded(samples: NDArray[np.float32], rate: int, **how: str) -> bytes:
    """Return a file's bytes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **how})
    return file.getvalue()


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"subtype": "PCM_16"}, 3.1e-5),
        ({"subtype": "PCM_24"}, 1e-6),
        ({"subtype": "FLOAT"}, 0.0),
        ({"subtype": "ULAW"}, 0.02),
        ({"format": "FLAC"}, 3.1e-5),
        ({"format": "AIFF"}, 3.1e-5),
    ],
)
def test_samples_are_what_was_written(how: dict[str, str], error: float) -> None:
    wanted = tone(0.2, 8000)
    found = decoded(encoded(wanted, 8000, **how))
    assert found.rate == 8000
    assert found.seconds == pytest.approx(0.2)
    np.testing.assert_allclose(found.samples, wanted, atol=error + 1e-9)


def test_channels_are_averaged() -> None:
    left, right = tone(0.1, 8000, 300), tone(0.1, 8000, 500)
    found = decoded(encoded(np.stack([left, right], 1), 8000, subtype="FLOAT"))
    np.testing.assert_allclose(found.samples, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no sound that can be decoded"),
        (b"RIFF" + bytes(60), "no sound that can be decoded"),
        (encoded(np.zeros(0, np.float32), 8000), "without a single sample"),
        (encoded(np.array([0, np.nan], np.float32), 8000, subtype="FLOAT"), "NaN or infinite"),
    ],
    ids=["empty", "RIFF", "silent", "NaN"],  # a file holds the time at which it was written
)
def test_what_is_no_sound_is_told(content: bytes, told: str) -> None:
    with pytest.raises(UnreadableImageError, match=told):
        decoded(content)


def test_a_file_that_claims_too_much_is_not_read() -> None:
    content = bytearray(encoded(tone(0.1, 8000), 8000))
    import fedtl.data.sound

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fedtl.data.sound, "_MOST_SAMPLES", 799)
        with pytest.raises(UnreadableImageError, match="more than 799 samples"):
            decoded(bytes(content))


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 16_000), (44_100, 16_000), (16_000, 8000)])
def test_a_tone_stays_a_tone_at_another_rate(rate: int, wanted: int) -> None:
    found = resampled(tone(0.5, rate), rate, wanted)
    assert len(found) == wanted // 2
    inner = slice(wanted // 20, -wanted // 20)  # the filter rings at the ends
    np.testing.assert_allclose(found[inner], tone(0.5, wanted)[inner], atol=3e-3)


def test_recordings_are_padded_by_their_own_length_alone() -> None:
    prepared = SoundPreparation(8000, 10.0, cut=False)
    lengths = [len(prepared.prepare(Sound(tone(s, 8000), 8000))) for s in (0.1, 0.3, 0.6, 1.7)]
    padded = [prepared.padded_length(np.zeros(one, np.float32)) for one in lengths]
    assert padded == [2000, 3000, 6000, 16_000]
    with pytest.raises(UnreadableImageError, match="longer than 10 seconds"):
        prepared.prepare(Sound(np.zeros(80_001, np.float32), 8000))
    cut = SoundPreparation(8000, 10.0, cut=True)
    assert len(cut.prepare(Sound(np.zeros(99_000, np.float32), 8000))) == 80_000


def _site(folder: Path, zipped: bool) -> Path:
    for site in ("north", "south"):
        for label, hertz in (("low", 200.0), ("high", 1800.0)):
            (folder / site / label).mkdir(parents=True)
            for number in range(4):
                path = folder / site / label / f"{number}.wav"
                path.write_bytes(encoded(tone(0.1 + 0.1 * number, 8000, hertz), 8000))
                path.with_suffix(".txt").write_text("a transcript, which is left aside")
    if not zipped:
        return folder
    with ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    return folder.with_suffix(".zip")


@pytest.mark.parametrize("zipped", [False, True])
def test_folders_and_archives_of_recordings(zipped: bool, tmp_path: Path) -> None:
    found = open_dataset(RunConfig(data=str(_site(tmp_path / "calls", zipped))))
    assert kind_of(found.inputs) == SOUND
    assert (found.unit, len(found), found.classes) == ("recording", 16, ("high", "low"))
    assert found.sites is not None
    assert set(found.sites.tolist()) == {"north", "south"}
    assert {one.kind for one in found.left_aside} == {".txt"}
    assert not isinstance(found.inputs, np.ndarray)
    assert found.inputs.load(1).seconds == pytest.approx(0.2)
    assert found.inputs.digest(0) != found.inputs.digest(1)


def test_a_table_of_labels_names_recordings_in_one_folder(tmp_path: Path) -> None:
    lines = ["file,label,split"]
    for number in range(8):
        (tmp_path / f"{number}.wav").write_bytes(encoded(tone(0.1, 8000), 8000))
        lines.append(f"{number}.wav,{'ab'[number % 2]},{'test' if number > 5 else 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    found = open_dataset(RunConfig(data=str(tmp_path), labels="labels.csv"))
    assert kind_of(found.inputs) == SOUND
    assert np.flatnonzero(found.test).tolist() == [6, 7]


def test_pictures_go_before_recordings(tmp_path: Path) -> None:
    from PIL import Image

    folder = _site(tmp_path / "both", zipped=False)
    for label in ("low", "high"):
        for number in range(2):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(
                folder / "north" / label / f"{number}.png"
            )
    found = open_dataset(RunConfig(data=str(folder)))
    assert kind_of(found.inputs) == PICTURE
    assert {one.kind for one in found.left_aside} == {".txt", ".wav"}
