"""Files that claim, or unpack to, more than there is: a sentence, soon, and in little memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from own_process import run_module

NAMES = (
    *("pictures", "member.zip", "nested.zip", "lying.zip", "many.zip", "t.tar.gz", "pax.tar.gz"),
    *("name.tar", "huge.tar", "deep.toml", "dots.toml", "large.toml", "deep.json", "large.json"),
    *("labels", "npy", "npz claimed", "npz packed", "npz wide labels"),
    *("weights packed", "weights repeated", "weights laughing"),
)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How each ended, all in one process."""
    told = run_module("bombs", tmp_path_factory.mktemp("bombs"), timeout=300)
    assert told.returncode == 0, told.stderr
    ends: dict[str, Any] = json.loads(told.stdout)
    return ends


def test_all_are_tried(ends: dict[str, Any]) -> None:
    assert sorted(ends) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_is_a_sentence(name: str, ends: dict[str, Any]) -> None:
    exit_code, said, seconds, grown = ends[name]
    assert exit_code in (1, 2), said
    last = said.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Dirichlet" not in last and "cannot share" not in last
    assert "defect" not in last and "Traceback" not in said
    assert "too little memory" not in last, "it is refused, not tried"
    assert seconds < 10
    assert grown < 2**29
