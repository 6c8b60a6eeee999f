"""Where a model of transformers lies, what it takes, and its weights, loaded and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fedtl.data.input_kinds import PICTURE, SOUND, TEXT, InputKind
from fedtl.errors import FedtlError, UsageError
from fedtl.registry import needed

_PREPROCESSOR = "preprocessor_config.json"
_OPTIONS = ("pool", "layer")


@dataclass(frozen=True)
class ModelPlace:
    """A model's folder or name, as ``hf:PATH_OR_ID#pool=mean#layer=-2`` says it.

    Attributes:
        where: A folder, or a name on the hub.
        pool: How many vectors become one; empty for the model's own way.
        layer: Whose outputs are taken: 0 for the embeddings, -1 for the last; ``None`` for what
            the model gives.
        download: Whether what is not there may be fetched.
    """

    where: str
    pool: str
    layer: int | None
    download: bool

    @classmethod
    def of(cls, argument: str, *, download: bool) -> ModelPlace:
        """Return what stands after ``hf:``.

        Raises:
            UsageError: It is not written so.
        """
        where, *settings = argument.split("#")
        values = dict(setting.split("=", 1) for setting in settings if "=" in setting)
        strange = sorted(values.keys() - set(_OPTIONS))
        if not where or strange or len(values) != len(settings):
            raise UsageError(
                f"backbone = 'hf:{argument}' should be hf:FOLDER or hf:NAME, followed by "
                "#pool=mean, #pool=cls, #pool=last or #layer=-2 if need be."
            )
        try:
            layer = int(values["layer"]) if "layer" in values else None
        except ValueError:
            raise UsageError(
                f"backbone = 'hf:{argument}': layer = {values['layer']!r} is no whole number."
            ) from None
        folder = Path(where).expanduser()
        there = folder.is_dir()
        if not there and (where.startswith((".", "/", "~")) or where.count("/") > 1):
            raise UsageError(f"backbone = 'hf:{argument}': there is no folder {where}.")
        return cls(str(folder) if there else where, values.get("pool", ""), layer, download)

    @property
    def transformers(self) -> ModuleType:
        """The package.

        Raises:
            UsageError: It is not installed.
        """
        package = needed("transformers", extra="text", by=f"backbone = hf:{self.where}")
        # What it would print is for whoever develops networks, and bars stand in fedtl's own.
        package.utils.logging.set_verbosity_error()
        package.utils.logging.disable_progress_bar()
        return package

    def configuration(self) -> Any:
        """Return the model's configuration.

        Raises:
            UsageError: There is no such model here, or it cannot be read.
        """
        return self._loaded(self.transformers.AutoConfig.from_pretrained)

    def takes(self) -> InputKind:
        """Return which kind of input the model takes, as its files say."""
        told = self.file(_PREPROCESSOR)
        if "image_processor_type" in told or "image_mean" in told:
            return PICTURE
        return SOUND if "sampling_rate" in told else TEXT

    def file(self, name: str) -> Mapping[str, Any]:
        """Return a JSON file of the model's; empty if there is none."""
        found = self.path(name)
        if found is None:
            return {}
        content = json.loads(found.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {"": content}

    def path(self, name: str) -> Path | None:
        """Return where a file of the model's lies; ``None`` if there is none."""
        cached_file = needed("transformers.utils", extra="text", by="hf").cached_file
        found = self._loaded(
            cached_file, filename=name, _raise_exceptions_for_missing_entries=False
        )
        return None if found is None else Path(found)

    def processor(self, automatic: str) -> Any:
        """Return what prepares inputs: of ``AutoTokenizer``, ``AutoImageProcessor`` or the like."""
        return self._loaded(getattr(self.transformers, automatic).from_pretrained)

    def model(self) -> Any:
        """Return the network with its weights, float32.

        Raises:
            UsageError: It cannot be read, or its file lacks weights.
        """
        import torch

        load = self.transformers.AutoModel.from_pretrained
        model, told = self._loaded(load, dtype=torch.float32, output_loading_info=True)
        missing = sorted(told["missing_keys"])
        if missing and all("pooler" in key for key in missing):
            # Weights drawn at random; what they would pool is not used.
            model.pooler, missing = None, []
        if missing:
            raise UsageError(
                f"The weights of {self.where} do not fit: they have no {missing[0]}"
                f"{f' and {len(missing) - 1:,} more' if missing[1:] else ''}."
            )
        return model.eval()

    def _loaded(self, load: Any, **settings: Any) -> Any:
        offline = not self.download or os.environ.get("HF_HUB_OFFLINE") == "1"
        try:
            return load(self.where, local_files_only=offline, **settings)
        except (OSError, ValueError, KeyError, RuntimeError, json.JSONDecodeError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            if Path(self.where).is_dir():
                raise UsageError(
                    f"{self.where} holds no model that can be read: {reason}"
                ) from None
            if not self.download:
                raise UsageError(
                    f"There is no folder {self.where}, and no model of this name in Hugging Face's "
                    "cache on this machine; --download fetches it from huggingface.co."
                ) from None
            raise FedtlError(f"{self.where} cannot be fetched: {reason}") from None
