"""What a site prepared, kept between messages: each message may get a new client process.

The split and where the features lie are a file in the cache, and ``context.state`` says which.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from flwr.app import ConfigRecord, Context

from fedtl.config import RunConfig
from fedtl.data.crops import CropRows
from fedtl.errors import UsageError
from fedtl.preparation.site import Site
from fedtl.records import config_record
from fedtl.transfer.cache_folder import cache_folder
from fedtl.transfer.client_block import ClientData
from fedtl.transfer.shared_features import SharedFeatures
from fedtl.whole_file import write_atomically

_STATE = "fedtl-site"

Prepare = Callable[[RunConfig, Context], tuple[Site, SharedFeatures]]
"""Opens a client's data, extracts its features, and splits off its held-out rows."""


def kept_site(config: RunConfig, prepare: Prepare, context: Context) -> Site:
    """Return a client's data: prepared at its first message, read from the cache later.

    Raises:
        UsageError: There is no cache to keep what is prepared.
        FedtlError: Whatever ``prepare`` raises.
    """
    if _STATE in context.state:
        path = Path(str(config_record(context.state, _STATE)["path"]))
        if path.is_file():
            return read_site(path)
    cache = _cache(config)
    path = _write_site(*prepare(config, context), cache)
    context.state[_STATE] = ConfigRecord({"path": str(path)})
    return read_site(path)


def _cache(config: RunConfig) -> Path:
    folder = cache_folder(config)
    if folder is None and not config.no_cache:
        raise UsageError(
            "this user has no home folder that can be written, and a site needs a cache between "
            "messages; name a folder with the key cache"
        )
    if folder is None:
        raise UsageError(
            "no-cache = true keeps nothing between messages, but a site's process may be new for "
            "each; use no-cache = false"
        )
    return folder


def _write_site(site: Site, features: SharedFeatures, cache: Path) -> Path:
    """Write what a site prepared, under the hash of its content; return the file."""
    data, folder = site.data, cache / "sites"
    if features.path is None or cache not in features.path.parents:
        # The file of what was not cached may be gone by now; what is mapped is there.
        parts = [part for part in (data.below, data.features) if part is not None]
        matrix = torch.cat(parts, 1).numpy().tobytes()
        path = folder / f"{hashlib.sha256(matrix).hexdigest()}.f32"
        if not path.is_file():
            write_atomically(path, matrix)
        features = replace(features, path=path, offset=0, array=None)
    facts = {
        "partition-id": data.partition_id,
        "classes": data.classes,
        "class-names": site.class_names,
        "fingerprint": site.backbone_fingerprint,
        "smallest-cell": site.smallest_cell,
        "classes-left-out": site.classes_left_out,
        "table-schema": site.table_schema,
        "path": str(features.path),
        "offset": features.offset,
        "shape": features.shape,
        "boundary-size": features.boundary_size,
        "crops": None if data.crops is None else (data.crops.step, data.crops.views),
    }
    arrays = {
        "facts": np.array(json.dumps(facts)),
        "labels": data.labels.numpy(),
        "train": data.train,
        "held_out": data.held_out,
        "test": data.test,
        "unseen": data.unseen,
    }
    if data.groups is not None:
        arrays["groups"] = data.groups
    if data.unrepeated is not None:
        arrays["unrepeated"] = data.unrepeated
    if data.crops is not None:
        arrays["crops"] = data.crops.first
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type] # numpy's own flag is among the keywords
    content = buffer.getvalue()
    target = folder / f"{hashlib.sha256(content).hexdigest()}.npz"
    write_atomically(target, content)
    return target


@lru_cache(maxsize=4)
def read_site(path: Path) -> Site:
    """Return the site that :func:`_write_site` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        facts = json.loads(str(stored["facts"]))
        rows, columns = facts["shape"]
        shared = SharedFeatures(
            (rows, columns),
            Path(facts["path"]),
            facts["offset"],
            boundary_size=facts["boundary-size"],
        )
        features, below = shared.parts()
        crops = facts["crops"]
        data = ClientData(
            partition_id=facts["partition-id"],
            features=features,
            labels=torch.from_numpy(stored["labels"]),
            train=stored["train"],
            held_out=stored["held_out"],
            test=stored["test"],
            unseen=stored["unseen"],
            classes=facts["classes"],
            groups=stored.get("groups"),
            unrepeated=stored.get("unrepeated"),
            below=below,
            crops=None if crops is None else CropRows(stored["crops"], *crops),
        )
    told = ("fingerprint", "smallest-cell", "classes-left-out", "table-schema")
    return Site(data, tuple(facts["class-names"]), *(facts[key] for key in told))
