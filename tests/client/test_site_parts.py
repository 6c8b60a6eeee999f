"""What a real site lets a run choose: parts of the package installed there, and no class."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from fedtl.client.policy import RefusedError, SitePolicy
from fedtl.config import RunConfig

SITE = {"data": "/srv/scans"}
DEFAULTS = RunConfig().to_mapping()


def _refusal(run: Mapping[str, Any], node: Mapping[str, Any] = SITE) -> str:
    with pytest.raises(RefusedError) as caught:
        SitePolicy.of(node).configuration({**DEFAULTS, **run})
    return str(caught.value)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"head": "evil:Class"}, "head = module:Class (its node config may allow it: allow = "),
        ({"head": "tree"}, "head: it names no head of the package"),
        ({"backbone": "evil:Class"}, "backbone = module:Class (its node config may allow it"),
        ({"hospitals-size": 32}, "hospitals-size (its node config may allow it"),
        (
            {"attackers": 0.5},
            "attackers: who drops out, is slow or hostile is for simulations",
        ),
    ],
)
def test_a_part_is_of_the_package_that_is_installed(run: Mapping[str, Any], said: str) -> None:
    assert f"This site refuses {said}" in _refusal(run)


@pytest.mark.parametrize("key", ["data", "partition"])
def test_a_key_that_a_site_allows_may_name_no_class_all_the_same(key: str) -> None:
    node = {**SITE, "allow": key}
    assert _refusal({key: "evil:Class"}, node).startswith(f"This site refuses {key} = module:Class")
    node["allow"] += ", module:Class"
    assert SitePolicy.of(node).configuration({**DEFAULTS, key: "evil:Class"})
    assert "evil" not in sys.modules
