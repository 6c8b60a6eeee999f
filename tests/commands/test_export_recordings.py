"""Exports of a closed form on features that hardly vary: recordings without high tones."""

from __future__ import annotations

import runpy
import wave
from pathlib import Path

import numpy as np
from in_process import finished

from fedtl import export, predict, simulate

RATE = 8000


def _recordings(folder: Path) -> list[str]:
    """Write tones in noise at 8 kHz, of which log-mel hears nothing in its upper bands."""
    rng, paths = np.random.default_rng(0), []
    for number in range(60):
        tone = ("low", "middle", "high")[number % 3]
        wave_of = np.sin(np.arange(RATE // 4) * (0.2 + 0.5 * (number % 3) + 0.05 * rng.normal()))
        samples = 0.05 * rng.normal(size=RATE // 4) + 0.1 * wave_of
        path = folder / tone / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        paths.append(str(path))
    return paths


def test_scores_are_those_of_predict_and_what_rounding_does_is_told(tmp_path: Path) -> None:
    paths = _recordings(tmp_path / "data")
    run = simulate(
        strategy="fed3r",
        data=str(tmp_path / "data"),
        backbone="log-mel",
        clients=2,
        engine="inline",
        test_fraction=0.0,
        no_cache=True,
        progress=False,
        out=str(tmp_path / "run"),
    )
    end = finished(export.main, run.path, "--to", "torch", "--out", tmp_path / "torch")
    assert end.exit_code == 0, end.stderr
    assert "if features are rounded otherwise in their last digit" in end.stderr
    assert "Exact(240, 3)" in (tmp_path / "torch" / "load_model.py").read_text()
    script = runpy.run_path(str(tmp_path / "torch" / "load_model.py"))
    model = script["load"]()
    said = [script["classify"](model, script["prepared"](path))[0] for path in paths[:9]]
    expected = predict(run, paths[:9]).iloc[:, 1:].to_numpy(float)
    np.testing.assert_allclose(said, expected, rtol=0, atol=1e-5)
