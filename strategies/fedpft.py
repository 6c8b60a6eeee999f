"""FedPFT: a head trained on features drawn from the Gaussians that clients fit to theirs.

Beitollahi, Bie, Hemati, Brunswic, Li, Chen & Zhang, "Parametric Feature Transfer: One-shot
Federated Learning with Foundation Models", 2024 (arXiv 2402.01862).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.determinism import generator
from fedtl.errors import UsageError
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import CosineHead, Head, LinearHead
from fedtl.transfer.softmax_regression import fit_softmax
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base import (
    AloneHead,
    Arrays,
    Choice,
    HeadStrategy,
    Options,
    Received,
    Reply,
    Search,
    Trained,
)
from strategies.base.coordinates import on_raw
from strategies.base.iterative import LocalSGD
from strategies.base.plausible import Told, wrong_class_sums, wrong_counts
from strategies.base.second_moments import chunks, symmetric, upper_triangle
from strategies.base.softmax_problem import SOFTMAX_PENALTY

# Of the mean variance; float32 takes about the number of features times 1e-7.
_ROUNDING = 1e-4
# Largest component of the whitened gradient that is left: float32 weights keep no more.
_CONVERGED = 1e-5
# Features of 512 numbers then take 4 GB.
_MOST_DRAWS = 2_000_000


class FedPFT(HeadStrategy):
    """The server draws nₖ,c features x ~ N(μₖ,c, Σₖ,c) of each client k and class c, and trains the
    head on them.

    Client k sends the count nₖ,c, mean μₖ,c and covariance Σₖ,c of its features of each class, or,
    with ``fedpft-covariance = diagonal``, only their variances: less to send by half the number of
    features, but it takes features for independent, and where they are not much is lost. The
    paper's clients fit mixtures of such Gaussians; this is that with one, which takes no iterations
    to fit. The authors' code sends 16 bits a number, here it is 32; it leaves out the classes of
    which a client has but one example, here they count, and the mean that is sent is then that
    example's features.

    The authors' code trains with AdamW. A linear head is solved to convergence here: softmax
    regression on standardised draws with the L2 penalty ``softmax-penalty`` times the number of
    features, so that nothing but the Gaussians is between it and ``fedsoftmax``. Folds of the draws
    are no way to choose that penalty: the same Gaussians are in all folds, and penalties too weak
    for new pictures win. An ``mlp`` takes the SGD of the iterative strategies, over the draws for
    ``rounds`` times ``local-epochs`` epochs. Either is then put on features as they are. A client
    by itself, and the pooled data, need no Gaussian: they train on the features themselves.
    """

    reply_record = "statistics"
    standardises = False
    one_round = True
    options = (
        Options(
            "fedpft",
            covariance=Choice(
                "full",
                "What clients send about the covariance of features within a class.",
                ("full", "diagonal"),
            ),
        )
        | SOFTMAX_PENALTY
    )
    search: ClassVar[Search] = LocalSGD.search

    def __init__(self, config: RunConfig, head: Head) -> None:
        if isinstance(head, CosineHead):
            raise UsageError(
                f"strategy = {config.strategy!r} trains on standardised features and puts the head "
                "on features as they are, where head = 'cosine' has other directions; use head = "
                "'linear' or 'mlp'."
            )
        super().__init__(config, head)
        self.full = self.options.covariance == "full"
        self._share = 1.0
        self._spread = "class-covariances" if self.full else "class-variances"
        self._first, self._bias, *rest = head.shapes
        self.width = head.shapes[self._first][1]
        self.classes = head.shapes[rest[-1] if rest else self._bias][0]

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """A Gaussian for each class; a covariance is its upper triangle, row by row."""
        gaussian = {"class-counts": (self.classes,), "class-means": (self.classes, self.width)}
        triangle = self.width * (self.width + 1) // 2
        return {**gaussian, self._spread: (self.classes, triangle if self.full else self.width)}

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at counts; Gaussians of no examples are zero, and variances are not negative.

        Of a covariance that cannot be one of any features, only the variances count: see
        :func:`_factor`.
        """
        counts, spread = arrays["class-counts"], arrays[self._spread]
        if fault := wrong_counts(counts, told) or wrong_class_sums(arrays["class-means"], counts):
            return fault
        if spread[counts == 0].any():
            return "it tells how features vary in a class without examples"
        own = spread[:, _diagonal(self.width)] if self.full else spread
        return "a variance is less than zero" if (own < 0).any() else ""

    def client_train(
        self, block: ClientBlock, received: Received, server_round: int
    ) -> list[Trained]:
        """Fit every client's Gaussians; there is no loss to report."""
        return [
            Trained(_gaussians(block, client, full=self.full), float("nan"))
            for client in range(len(block))
        ]

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Draw features of all clients and train on them; float64, on unstandardised features."""
        told = list(replies)
        everyone = sum(reply.examples for reply in told)
        self._share = min(1.0, _MOST_DRAWS / max(everyone, 1))
        drawn = [self.draw(position, reply) for position, reply in enumerate(told)]
        if not sum(len(labels) for _, labels in drawn):
            return None
        features = np.concatenate([x for x, _ in drawn])
        labels = np.concatenate([y for _, y in drawn])
        block = ClientBlock.unstandardised(
            torch.from_numpy(features),
            torch.from_numpy(labels),
            rows=[np.arange(len(labels))],
            partition_ids=[self.config.clients],
            classes=self.classes,
        )
        (trained,) = self.train_alone(block)
        return on_raw(trained.arrays, trained.standardisation, weight=self._first, bias=self._bias)

    @property
    def note(self) -> str:
        """Tell if there were fewer draws than examples."""
        if self._share == 1:
            return ""
        return (
            f"fedpft drew {_MOST_DRAWS:,} features, the most that it draws, for the "
            f"{_MOST_DRAWS / self._share:,.0f} examples that clients reported."
        )

    def server_state(self) -> Arrays:
        """Return the draws per example."""
        return {"share": np.array([self._share])}

    def restore_server_state(self, state: Arrays) -> None:
        """Restore them."""
        self._share = float(state["share"][0])

    def draw(self, position: int, reply: Reply) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return features ``(n, d)`` drawn from a client's Gaussians, and their labels ``(n,)``.

        The draws belong to (seed, position among the replies). A client has no more of them than it
        has examples, whatever its counts say, and fewer in proportion if all together would have
        more than a server can hold.
        """
        counts = np.rint(reply.arrays["class-counts"].astype(np.float64)).clip(0, None)
        most = reply.examples * self._share
        if counts.sum() > most:
            counts = np.floor(counts * (most / counts.sum()))
        labels = np.repeat(np.arange(self.classes), counts.astype(np.int64))
        rng = generator(self.config.seed, "fedpft", position)
        features = rng.standard_normal((len(labels), self.width), dtype=np.float32)
        if self.full:
            for c in np.unique(labels).tolist():
                factor = _factor(reply.arrays["class-covariances"][c], self.width)
                noise = torch.from_numpy(features[labels == c])
                features[labels == c] = (noise @ factor.T).numpy()
        else:
            features *= np.sqrt(reply.arrays["class-variances"].clip(0, None))[labels]
        features += reply.arrays["class-means"][labels]
        return features, labels

    @property
    def alone_key(self) -> Hashable:
        """See :class:`HeadStrategy`: what is solved depends only on its penalty."""
        if isinstance(self.head, LinearHead):
            return type(self), self.head, self.options.penalty
        return LocalSGD(self.config, self.head).alone_key

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Train on each client's own features, as the server does on its draws."""
        if not isinstance(self.head, LinearHead):
            return LocalSGD(self.config, self.head).train_alone(block)
        penalty = self.options.penalty
        return [_solved(block, client, penalty) for client in range(len(block))]


def _solved(block: ClientBlock, client: int, penalty: float) -> AloneHead:
    """Return the softmax regression of a client's features, standardised by its own moments."""
    rows = block.rows[client]
    own = Standardisation.from_moments(Moments.of(block.features, rows))
    here = torch.from_numpy(rows)
    varying = max(1, int((own.scale > 0).sum()))
    weight, bias = fit_softmax(
        own.apply(block.features[here]),
        block.labels[here],
        block.classes,
        penalty * varying,
        _CONVERGED,
    )
    return AloneHead({"weight": weight.float().numpy(), "bias": bias.float().numpy()}, own)


def _gaussians(block: ClientBlock, client: int, *, full: bool) -> Arrays:
    """Return count, mean and (co)variance of a client's features of each class; 0 where none."""
    width = block.features.shape[1]
    sums = torch.zeros(block.classes, width + 1, dtype=torch.float64)
    for z, labels in chunks(block, client):
        sums.index_add_(0, labels, z)
    counts = sums[:, -1:]
    means = sums[:, :-1] / counts.clamp_min(1)
    sent = {"class-counts": counts[:, 0].float().numpy(), "class-means": means.float().numpy()}
    if full:
        return {**sent, "class-covariances": _covariances(block, client, means, counts)}
    squares = torch.zeros(block.classes, width, dtype=torch.float64)
    for z, labels in chunks(block, client):
        squares.index_add_(0, labels, (z[:, :-1] - means[labels]).square())
    return {**sent, "class-variances": (squares / counts.clamp_min(1)).float().numpy()}


def _covariances(
    block: ClientBlock, client: int, means: Tensor, counts: Tensor
) -> NDArray[np.float32]:
    """Return the upper triangle of the covariance of each class, ``(K, d(d+1)/2)``."""
    width = means.shape[1]
    triangles = np.zeros((block.classes, width * (width + 1) // 2), np.float32)
    for c in torch.nonzero(counts[:, 0]).flatten().tolist():
        scatter = torch.zeros(width, width, dtype=torch.float64)
        for z, labels in chunks(block, client):
            away = z[labels == c, :-1] - means[c]
            scatter.addmm_(away.T, away)
        triangles[c] = upper_triangle(scatter / counts[c])
    return triangles


def _diagonal(width: int) -> NDArray[np.int64]:
    """Return where the diagonal of a ``(d, d)`` matrix lies in its upper triangle, row by row."""
    return np.cumsum(np.concatenate([[0], np.arange(width, 1, -1)]))


def _factor(triangle: NDArray[np.floating], width: int) -> Tensor:
    """Return L, float32, with LLᵀ the covariance of this upper triangle.

    A client's classes often have fewer examples than features: what rounding may take from such a
    singular matrix is added to its diagonal. Of a matrix that is no covariance, which a hostile
    client may send, only the diagonal counts.
    """
    covariance = symmetric(triangle, width)
    variances = covariance.diagonal().clamp_min(0)
    factor, failed = torch.linalg.cholesky_ex(
        covariance + _ROUNDING * variances.mean() * torch.eye(width, dtype=torch.float64)
    )
    return (variances.sqrt().diag() if failed else factor).float()


STRATEGY = FedPFT
