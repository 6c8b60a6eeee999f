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
from fedtl.transfer.huggingface.brought_code import code_digests, code_run, refuse_elsewhere
from fedtl.user_code import refuse_barred_model

_PREPROCESSOR = "preprocessor_config.json"
_CONFIGURATION, _MODULES = "config.json", "modules.json"
# Files in which transformers looks for classes of the model's own.
_NAMING = (
    _CONFIGURATION,
    "tokenizer_config.json",
    _PREPROCESSOR,
    "processor_config.json",
    "video_preprocessor_config.json",
)
# Where the classes are that modules.json usually names.
_SENTENCES = "sentence_transformers."
_OPTIONS = ("pool", "layer")
_FAILURES = (OSError, ValueError, KeyError, RuntimeError, ImportError)
_LONGEST = 200
# The argument by which transformers runs a model's own Python, as its refusals name it.
_THEIR_SWITCH = "trust_remote_code"


def _brief(told: str) -> str:
    """Return as many whole sentences of a library's message as 200 characters hold."""
    if len(told) <= _LONGEST:
        return told
    whole, end, _ = told[:_LONGEST].rpartition(". ")
    return whole if end else told[:_LONGEST]


@dataclass(frozen=True)
class ModelPlace:
    """A model's folder or name, as ``hf:PATH_OR_ID#pool=mean#layer=-2`` says it.

    Attributes:
        where: A folder, or a name on the hub.
        pool: How many vectors become one; empty for the model's own way.
        layer: Whose outputs are taken: 0 for the embeddings, -1 for the last; ``None`` for what
            the model gives.
        download: Whether what is not there may be fetched.
        trusted: Whether Python that the model brings may run.
    """

    where: str
    pool: str
    layer: int | None
    download: bool
    trusted: bool = False

    @classmethod
    def of(cls, argument: str, *, download: bool, trusted: bool = False) -> ModelPlace:
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
        where = str(folder) if there else where
        return cls(where, values.get("pool", ""), layer, download, trusted)

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

    @property
    def _untrusted(self) -> str:
        """Why a model is refused that brings Python, in a sentence."""
        return (
            f"{self.where} brings Python of its own, and none that comes with a network is run "
            "unless you ask for it: add --trust-remote-code if you know who wrote it, or take a "
            "network that transformers itself has."
        )

    def configuration(self) -> Any:
        """Return the model's configuration.

        Raises:
            UsageError: There is no such model here, or it cannot be read.
        """
        return self.loaded(self.transformers.AutoConfig.from_pretrained)

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
        return self.loaded(getattr(self.transformers, automatic).from_pretrained)

    def model(self) -> Any:
        """Return the network with its weights, float32.

        Raises:
            UsageError: It cannot be read, or its file lacks weights.
        """
        import torch

        load = self.transformers.AutoModel.from_pretrained
        model, told = self.loaded(load, dtype=torch.float32, output_loading_info=True)
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

    def loaded(self, load: Any, **settings: Any) -> Any:
        """Return what a library loads, and what may need Python that the model brings.

        Args:
            load: Takes the model's place.
            settings: Its other arguments.

        Raises:
            UsageError: It is not there, cannot be read, or needs Python that may not run.
            FedtlError: It cannot be fetched.
        """
        # Left out, transformers would ask at the terminal.
        found = self._loaded(load, trust_remote_code=self.trusted, **settings)
        ran = code_run(found)
        if ran and not self.trusted:
            raise UsageError(self._untrusted)
        if not ran <= set(self.code().values()):
            raise UsageError(
                f"{self.where} has other Python than a network of the same names that this process "
                "has loaded before; start Python anew."
            )
        return found

    def check_code(self) -> None:
        """Refuse Python that may not run, before any does.

        Raises:
            UsageError: It is not asked for, or by a folder alone that may come from somebody else,
                or it lies in another repository than the model.
        """
        modules = [one["type"] for one in self.file(_MODULES).get("", ())]
        own = [one for one in modules if not one.startswith(_SENTENCES)]
        if not self.trusted:
            # sentence-transformers runs it unasked before its version 6.
            if own:
                raise UsageError(self._untrusted)
            return
        refuse_barred_model(self.where)
        named = {name: self.file(name).get("auto_map") for name in _NAMING}
        refuse_elsewhere(self.where, {**named, _MODULES: own})

    def code(self) -> dict[str, str]:
        """Return the SHA-256 of every .py file that the model brings, by its path in the folder.

        Of a name on the hub these are the files that were fetched, so what runs is among them.
        """
        found = self.path(_CONFIGURATION) if self.trusted else None
        return {} if found is None else code_digests(found.parent)

    def _loaded(self, load: Any, **settings: Any) -> Any:
        offline = not self.download or os.environ.get("HF_HUB_OFFLINE") == "1"
        try:
            return load(self.where, local_files_only=offline, **settings)
        except Exception as error:
            if not (self.trusted or isinstance(error, _FAILURES)):
                raise
            told = str(error)
            reason = _brief(" ".join(told.split())) or type(error).__name__
            if not self.trusted and _THEIR_SWITCH in told:
                raise UsageError(self._untrusted) from None
            if not isinstance(error, _FAILURES):
                raise UsageError(
                    f"The Python that {self.where} brings fails: {type(error).__name__}: {reason}"
                ) from error
            if Path(self.where).is_dir():
                raise UsageError(
                    f"{self.where} holds no model that can be read ({reason.rstrip('.')}): give a "
                    "folder that save_pretrained of transformers wrote, with its weights."
                ) from None
            if not self.download:
                raise UsageError(
                    f"There is no folder {self.where}, and no model of this name in Hugging Face's "
                    "cache on this machine; --download fetches it from huggingface.co."
                ) from None
            raise FedtlError(f"{self.where} cannot be fetched: {reason}") from None
