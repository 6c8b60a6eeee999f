"""``--backbone hf:FOLDER_OR_NAME``: a network of Hugging Face's transformers."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from fedtl.data.input_kinds import PICTURE, SOUND
from fedtl.errors import UsageError
from fedtl.options import Integer, Options, Switch
from fedtl.transfer.backbones.base import DEFAULT, Backbone, Family
from fedtl.transfer.huggingface.brought_code import without_places
from fedtl.transfer.huggingface.model_place import ModelPlace
from fedtl.transfer.preparation import Preparation
from fedtl.transfer.text_tower import TextTower
from fedtl.wording import count_of

# Changed whenever features change that the same network and settings give.
_RULE = "transformers 2"


class HuggingFace(Family):
    """A network of transformers for texts, pictures or recordings, from a folder or the cache."""

    options = Options(
        download=Switch(False, "Fetch a network that is not on this machine."),
        trust_remote_code=Switch(
            False, "Run Python that a network of Hugging Face's brings; know who wrote it."
        ),
        max_length=Integer(
            0,
            "Tokens at which texts are cut; 0 is the network's own, 512 at most.",
            low=0,
            high=32_768,
        ),
    )

    def load(self) -> Backbone:
        """See :class:`Family`."""
        if self.config.weights != DEFAULT:
            raise UsageError(
                f"backbone = {self.config.backbone!r} has the weights that lie with it; leave "
                "weights out."
            )
        place = self._place()
        takes, told = place.takes(), ""
        network: nn.Module
        preparation: Preparation
        if takes == PICTURE:
            from fedtl.transfer.huggingface.pictures import picture_network

            network, preparation, pool = picture_network(place)
        elif takes == SOUND:
            from fedtl.transfer.huggingface.sounds import sound_network

            network, preparation, pool = sound_network(place)
        else:
            from fedtl.transfer.huggingface.texts import text_network

            network, preparation, pool = text_network(place, self.options.max_length)
            told = f"texts are cut at {preparation.longest:,} tokens (max-length)"
        layer = "" if place.layer is None else f"#layer={place.layer}"
        configuration = place.configuration()
        # Two sites may have the same network in folders of different names.
        name = f"hf:{configuration.model_type}#pool={pool}{layer}"
        parts: list[Any] = [_RULE, _plain(configuration)]
        if place.trusted:
            code = place.code()
            parts.append({"trust-remote-code": code})
            ran = f"Python that the network brings runs ({count_of(len(code), 'file')})"
            told = "; ".join(filter(None, [told, ran if code else ""]))
        rule = json.dumps(parts, sort_keys=True, default=str)
        return self.frozen(network, 0, preparation, name=name, rule=rule, told=told)

    def text_tower(self) -> TextTower:
        """See :class:`Family`."""
        from fedtl.transfer.huggingface.class_names import names_read

        place = self._place()
        joint = place.takes() == PICTURE and not place.pool and place.layer is None
        found = names_read(place) if joint else None
        return super().text_tower() if found is None else found

    def _place(self) -> ModelPlace:
        place = ModelPlace.of(
            self.argument,
            download=self.options.download,
            trusted=self.options.trust_remote_code,
        )
        place.check_code()
        return place


BACKBONE = HuggingFace


def _plain(configuration: Any) -> dict[str, Any]:
    """Return a configuration without what says where and by which version it was written."""
    found = configuration.to_dict()
    for key in ("transformers_version", "_name_or_path", "dtype", "torch_dtype"):
        found.pop(key, None)
    return without_places(dict(found))
