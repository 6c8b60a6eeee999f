"""A finished run's head, taken from its folder and ready for new features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fedtl.config import RunConfig
from fedtl.data.grey_scale import GreyScale
from fedtl.data.schema import Schema
from fedtl.errors import UsageError
from fedtl.transfer.embeddings import embedding_fingerprint

if TYPE_CHECKING:
    from fedtl.transfer.backbones import Backbone
    from fedtl.transfer.head_file import TrainedHead
    from fedtl.transfer.heads import Head
    from fedtl.transfer.prior_correction import Adjustment


@dataclass(frozen=True, eq=False)
class Classifier:
    """The head of a finished run, and the configuration that it was trained with.

    Attributes:
        run: The run folder.
        config: Its configuration.
        trained: Its head.
        told: What the user should know before it is used, one sentence each.
    """

    run: Path
    config: RunConfig
    trained: TrainedHead
    told: tuple[str, ...] = ()

    @classmethod
    def of_run(
        cls,
        run: Path,
        *,
        trust: bool = False,
        remedy: str = "add --trust",
        weights: Path | None = None,
    ) -> Classifier:
        """Return what a run folder holds.

        Args:
            run: The folder.
            trust: Whether a class that the folder names may run, wherever its code lies.
            remedy: What the user can give to let such code run, for messages.
            weights: The backbone's file of weights, if it is not where the folder says.

        Raises:
            UsageError: It is not a run folder, the run is not finished, or its files do not belong
                together.
            FedtlError: A file is damaged.
        """
        from fedtl.federation.checked_head import checked_head
        from fedtl.federation.foreign_folder import read_run, told_places

        folder = run.expanduser()
        config, identity = read_run(run, trust=trust, remedy=remedy)
        if not (folder / "head.safetensors").exists():
            import strategies

            if not strategies.load(config.strategy).global_head:
                raise UsageError(
                    f"{run} has no head to classify with: with strategy = {config.strategy!r} "
                    "every client has its own head, which stays with the client."
                )
            raise UsageError(
                f"{run} has no head.safetensors: the run is not finished; finish it with "
                f"python -m fedtl.simulate --resume {run}"
            )
        head, doubts = checked_head(folder, identity)
        classifier = cls(run, config, head, tuple(doubts))
        classifier._check_head()
        if classifier.takes_embeddings:
            if weights is not None:
                raise UsageError(
                    f"{run} was trained on embeddings and has no backbone; leave --weights out."
                )
            return classifier
        if weights is not None:
            return replace(classifier, config=config.replace(weights=str(weights)), told=(*doubts,))
        places = told_places(config.to_mapping(), folder, keys=("weights",))
        return replace(classifier, told=(*doubts, *places))

    @property
    def takes_embeddings(self) -> bool:
        """Whether the run was trained on embeddings, not on images."""
        return self.trained.fingerprint == embedding_fingerprint(self.feature_size)

    @property
    def measure(self) -> Literal["probability", "score"]:
        """What :meth:`values` are: probabilities or scores, as the strategy declares.

        A least-squares head estimates the one-hot label itself: about 1 for an example's class,
        about 0 for the others. A cosine is not a log-odds either: a softmax of these would mean
        nothing.
        """
        import strategies

        outputs = strategies.load(self.config.strategy).outputs
        return "probability" if outputs in ("probability", "log-odds") else "score"

    @property
    def in_float64(self) -> bool:
        """Whether the head is stored in float64, as closed forms are, and computed in it.

        Their weights take features as they are. Where a feature hardly varies its weight is large,
        and summands are many thousand times their sum: float32 would leave it two digits.
        """
        arrays = self.trained.arrays
        return all(array.dtype == np.float64 for array in arrays.values())

    @property
    def feature_size(self) -> int:
        """Number of features that the head takes, d."""
        # Any head's first parameter is the one that meets the features.
        first = next(iter(self._shapes(feature_size=1)))
        return int(self.trained.arrays[first].shape[-1])

    def on_scale(self, limits: tuple[float, float]) -> Classifier:
        """Return the classifier with other values for black and white than in training.

        Raises:
            UsageError: The limits leave nothing between them.
        """
        if not limits[0] < limits[1]:
            raise UsageError(f"--grey-range {limits[0]:g} {limits[1]:g}: LOW must be below HIGH.")
        return replace(self, trained=replace(self.trained, scale=GreyScale.within(limits)))

    def with_schema(self, schema: Schema) -> Classifier:
        """Return the classifier for rows of a table by a schema that its file need not hold."""
        return replace(self, trained=replace(self.trained, schema=schema))

    def backbone(self) -> Backbone:
        """Return the backbone that the head was trained on.

        Raises:
            FedtlError: It is not available, or differs from the run's.
        """
        from fedtl.transfer.boundary import cut_backbone

        config = self.config
        if config.backbone == "tabular" and self.trained.schema is None:
            raise UsageError(
                f"{self.run} does not hold what the columns of its tables are, which at real sites "
                "the sites know; give the file that they share: --table-schema FILE"
            )
        backbone, _ = cut_backbone(config, self.trained.schema)
        if backbone.fingerprint != self.trained.fingerprint:
            raise UsageError(
                f"The backbone {config.backbone} with weights {config.weights} has fingerprint "
                f"{backbone.fingerprint} here, but the head of {self.run} was trained with "
                f"{self.trained.fingerprint}; use the weights and the fedtl version of the run."
            )
        return backbone

    def values(
        self, features: NDArray[np.float32], case_mix: Adjustment | None = None
    ) -> NDArray[np.float64]:
        """Return every class's probability or score (see :attr:`measure`).

        Args:
            features: Shape ``(n, d)``, not standardised, as the backbone gives them.
            case_mix: How to read the head with another mix of classes than in training; values are
                then probabilities, whatever its outputs.

        Returns:
            Shape ``(n, K)``, in the order of the head's classes.
        """
        import torch

        outputs = torch.from_numpy(self.outputs(features))
        if case_mix is not None:
            outputs = case_mix.of(torch.zeros(1, dtype=torch.int64), outputs[None])[0]
        elif self.measure == "score":
            return outputs.numpy()
        else:
            outputs = outputs / self.trained.temperature
        return outputs.softmax(1).numpy()

    def outputs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the head's raw outputs, shape ``(n, K)``.

        The arithmetic is that of the run's own scoring, but for :attr:`in_float64`, in batches of
        one fixed shape, so that a row's values do not depend on the other rows.

        Args:
            features: Shape ``(n, d)``, not standardised.
        """
        import torch

        from fedtl.transfer.client_block import given
        from fedtl.transfer.heads import one_thread
        from fedtl.transfer.minibatches import SCORING_BATCH
        from fedtl.transfer.standardisation import Standardisation

        trained, count, width = self.trained, len(features), self.feature_size
        head = self.form(width)
        parameters = {
            name: torch.from_numpy(
                trained.arrays[name].astype(np.float64 if self.in_float64 else np.float32)
            ).unsqueeze(0)
            for name in head.shapes
        }
        dtype = next(iter(parameters.values())).dtype
        standardisation = trained.standardisation or Standardisation.identity(width)
        values = np.empty((count, len(trained.classes)))
        with one_thread(), torch.inference_mode():
            for start in range(0, count, SCORING_BATCH):
                rows = torch.tensor(features[start : start + SCORING_BATCH], dtype=dtype)
                taken = given(head, rows, standardisation)
                batch = torch.zeros(1, SCORING_BATCH, taken.shape[1], dtype=dtype)
                batch[0, : len(rows)] = taken
                values[start : start + len(rows)] = head.logits(parameters, batch)[0, : len(rows)]
        return values

    def form(self, feature_size: int) -> Head:
        """Return the head's form for so many features."""
        from fedtl.transfer.heads import head_of

        classes = len(self.trained.classes)
        return head_of(self.config, features=feature_size, classes=classes)

    def _shapes(self, feature_size: int) -> dict[str, tuple[int, ...]]:
        return dict(self.form(feature_size).shapes)

    def _check_head(self) -> None:
        """Refuse a head that is not of the configured form."""
        held = {name: array.shape for name, array in self.trained.arrays.items()}
        described = self._shapes(feature_size=1)
        if not described.keys() <= held.keys() or any(
            held[name] != shape for name, shape in self._shapes(self.feature_size).items()
        ):
            raise UsageError(
                f"{self.run / 'head.safetensors'} is not of the form head = {self.config.head!r} "
                f"that {self.run / 'config.toml'} describes: it holds "
                f"{', '.join(f'{name} {shape}' for name, shape in held.items())}."
            )
