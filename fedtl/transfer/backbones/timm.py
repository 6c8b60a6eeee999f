"""``--backbone timm:NAME``: a network of timm's, cut before its classifier."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fedtl.config_key import nearest
from fedtl.errors import FedtlError, UsageError
from fedtl.options import Options, Switch
from fedtl.registry import needed
from fedtl.transfer.backbones.base import DEFAULT, RANDOM, Backbone, Family, is_weights_file
from fedtl.transfer.checkpoint_file import read_checkpoint
from fedtl.transfer.preprocessing import Preprocessing, three_numbers
from fedtl.transfer.state_search import find_state
from fedtl.transfer.weights_file import load_checked

_RULE = "timm, pooled, without classifier 1"
_FILES = ("model.safetensors", "pytorch_model.bin")


class Timm(Family):
    """A network of timm's (PyTorch Image Models), cut before its classifier."""

    options = Options(download=Switch(False, "Fetch weights that are not on this machine."))

    def load(self) -> Backbone:
        """See :class:`Family`."""
        name, weights = self.argument, self.config.weights
        timm = needed("timm", extra="timm", by=f"backbone = timm:{name}")
        network = self._created(timm, name)
        told = ""
        if weights != RANDOM:
            if is_weights_file(weights):
                source, path = f"weights file {weights}", Path(weights).expanduser()
            elif weights == DEFAULT:
                source, path = f"timm:{name}'s weights", self._own_weights(timm, name)
            else:
                raise UsageError(
                    f"Unknown weights {weights!r} for timm:{name}; they should be {DEFAULT}, a "
                    f"file (.pth, .safetensors, …), or {RANDOM}."
                )
            found = find_state(read_checkpoint(path), network.state_dict().keys(), source=source)
            classifiers = network.pretrained_cfg.get("classifier") or ()
            ignored = [classifiers] if isinstance(classifiers, str) else list(classifiers)
            load_checked(
                network, found.state, source=source, ignored=[f"{one}." for one in ignored]
            )
            told = found.told
        preparation = _preprocessing(timm, network, self.config.image_size)
        try:
            return self.frozen(network, 0, preparation, name=f"timm:{name}", rule=_RULE, told=told)
        except (AssertionError, RuntimeError) as error:
            raise UsageError(
                f"timm:{name} takes no pictures of {preparation.image_size} pixels a side "
                f"({str(error).splitlines()[0]}); leave image-size out."
            ) from None

    def _created(self, timm: ModuleType, name: str) -> Any:
        """Return the network, with random weights that the seed determines.

        Raises:
            UsageError: There is none of this name.
        """
        if not timm.is_model(name.partition(".")[0]):
            known = timm.list_models()
            raise UsageError(f"backbone = 'timm:{name}' is not known{nearest(name, known)}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.inputs_seed)
            network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
        return network

    def _own_weights(self, timm: ModuleType, name: str) -> Path:
        """Return timm's own weights, from the cache of this machine or fetched.

        Raises:
            UsageError: They are not here and may not be fetched.
            FedtlError: They cannot be fetched.
        """
        hub = needed("huggingface_hub", extra="timm", by=f"backbone = timm:{name}")
        where = str(timm.get_pretrained_cfg(name).hf_hub_id or "")
        reasons = []
        for file in _FILES if where else ():
            try:
                offline = not self.options.download
                return Path(hub.hf_hub_download(where, file, local_files_only=offline))
            except (OSError, ValueError) as error:
                reasons.append(" ".join(str(error).split())[:160])
        if where and self.options.download:
            raise FedtlError(f"{where} cannot be fetched: {reasons[0]}")
        raise UsageError(
            f"The weights of timm:{name} are not on this machine; give a file (--weights FILE)"
            + (", or --download fetches them from huggingface.co." if where else ".")
        )


BACKBONE = Timm


def _preprocessing(timm: ModuleType, network: Any, image_size: int) -> Preprocessing:
    """Return what timm's evaluation does with a picture, for another size in proportion.

    Raises:
        UsageError: It crops in a way that fedtl does not.
    """
    told = timm.data.resolve_model_data_config(network)
    size = image_size or int(told["input_size"][1])
    squashed = told["crop_mode"] == "squash"
    if told["crop_mode"] not in ("center", "squash"):
        raise UsageError(
            f"timm's network crops pictures by {told['crop_mode']}, which fedtl does not; choose "
            "another."
        )
    return Preprocessing(
        image_size=size,
        resize=None if squashed else math.floor(size / told["crop_pct"]),
        interpolation=str(told["interpolation"]).upper(),
        mean=three_numbers(told["mean"]),
        std=three_numbers(told["std"]),
    )
