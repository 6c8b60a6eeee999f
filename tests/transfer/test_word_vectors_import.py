"""WordLlama's import leaves logging as it was."""

from __future__ import annotations

import logging
import sys

import pytest

from fedtl.config import RunConfig
from fedtl.transfer.backbones import backbone_of


def test_what_other_packages_log_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    # Without pytest's own handlers, with which basicConfig does nothing.
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    for name in [name for name in sys.modules if name.partition(".")[0] == "wordllama"]:
        monkeypatch.delitem(sys.modules, name)
    backbone_of(RunConfig(backbone="wordllama"))
    assert "wordllama.inference" in sys.modules
    assert (root.handlers, root.level) == ([], logging.WARNING)
    assert not logging.getLogger("fontTools.subset").isEnabledFor(logging.INFO)
