"""What ``simulations.real_sites`` says where there is no app to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtl.errors import UsageError
from simulations.real_sites import __main__ as real_sites


def test_outside_a_checkout_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_sites, "__file__", str(tmp_path / "site-packages" / "a" / "b.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"pyproject\.toml is not here; start this in a checkout"):
        real_sites.main(folder=tmp_path / "made")
    assert not list(tmp_path.iterdir())
