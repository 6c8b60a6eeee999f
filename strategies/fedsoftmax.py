"""Exact pooled softmax regression: L-BFGS at the server, one evaluation of the loss a round.

Logistic regression over sites by sums of losses and gradients is as old as GLORE (Wu, Jiang, Kim &
Ohno-Machado, JAMIA 19, 2012), which sends Hessians too; the fixed matrix in a Hessian's stead is
Böhning's ("Multinomial logistic regression algorithm", Annals of the Institute of Statistical
Mathematics 44, 1992).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.transfer.client_block import ClientBlock
from fedtl.transfer.heads import Head
from fedtl.transfer.standardisation import Moments, Standardisation
from strategies.base import AloneHead, Arrays, HeadStrategy, Received, Reply, Trained
from strategies.base.plausible import Told, too_large, too_large_loss
from strategies.base.quasi_newton import Floats, QuasiNewton
from strategies.base.second_moments import SecondMoments
from strategies.base.softmax_problem import SOFTMAX_PENALTY, SoftmaxProblem

_CHUNK = 2048
_LONGEST_ALONE = 1000
# How often a client is asked for the same gradient before it is taken for gone.
_ASKED = 3


class FedSoftmax(HeadStrategy):
    """W, b = argmin Σᵢ -log softmax(W zᵢ + b)[yᵢ] + λd/2 ‖W‖², over the rows of all clients.

    z are d features standardised by their pooled moments, λ = ``softmax-penalty``, and b goes
    unpenalised: the head of scikit-learn's ``LogisticRegression(C=1/λd)`` on the pooled rows. (For
    two classes that has one weight vector w = w₁ - w₀ with half the penalty: C = 2/λd.)

    Each round every client sends Σ loss and its gradient (K × (d+1)) at the head that it was sent,
    over all its rows; the server adds λ's part and takes a step of L-BFGS, or a shorter one if the
    last was too long (:class:`strategies.base.quasi_newton.QuasiNewton`). The final head is the
    best one evaluated. The run ends before ``rounds`` if nothing is left to gain.

    The metric. With pᵢ the probabilities of example i, the Hessian is Σᵢ (diag pᵢ - pᵢpᵢᵀ) ⊗ zᵢzᵢᵀ
    + λdI. At W = 0, b = 0 all pᵢ are 1/C, and its block of each class is exactly

        M = (1/C - 1/C²) G + λdI = (C-1)/C² G + λdI,   G = Σᵢ zᵢzᵢᵀ,

    without λ for the bias. It is like a bound: p(1-p) ≤ 1/4, and Böhning's ½(I - 11ᵀ/C) ⊗ G, which
    no Hessian exceeds, has the blocks (C-1)/2C G. Whitening by M^(-½) makes the Hessian at the
    start one whose blocks are I. G comes from what Fed3R's clients send, asked for once before the
    first round: as z has mean 0, it is n times the correlations R, and n for the bias. The same
    sums tell loss and gradient at W = 0, so that round 1 evaluates the first step already.

    A gradient that lacks clients is not one of this loss. If some do not answer, the head is sent
    once more, and once more again; a client that has answered already is not counted twice. Clients
    that are still missing then count as gone: the search begins again, from where it is, with the
    others' rows; it does the same if a client comes back. A sample of clients a round would make
    every round such a beginning, so ``fraction`` must be 1.
    """

    options = SOFTMAX_PENALTY
    reply_record = "statistics"
    precision = "float64"
    own_start = True
    starter: Opening

    def __init__(self, config: RunConfig, head: Head) -> None:
        super().__init__(config, head)
        if config.fraction < 1:
            raise UsageError(
                f"strategy = {config.strategy!r} needs the gradient of all clients in every round, "
                f"but fraction = {config.fraction:g}; use fraction = 1 or another strategy."
            )
        self.starter = Opening(config, head)
        self._search: QuasiNewton | None = None
        self._sums = _Sums(self.starter.classes, self.starter.width)
        self._members: set[int] = set()
        self._asked = self._repeated = self._evaluations = 0

    # --- the server half ----------------------------------------------------------------------

    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Add up loss and gradient, and return where they are wanted next."""
        problem, search = self._begun()
        sums = self._sums
        if not sum(map(sums.add, replies)):
            return None
        self._asked += 1
        if self._members:
            complete, same = sums.clients >= self._members, sums.clients == self._members
        else:
            complete = same = sums.examples == problem.examples
        if complete or self._asked == _ASKED:
            if not same:
                search.forget()
            point = problem.point(head)
            search.tell(point, *problem.penalised(point, sums.loss, sums.gradient))
            self._members = sums.clients
            self._sums = _Sums(self.starter.classes, self.starter.width)
            self._asked = 0
            self._evaluations += 1
            head = problem.head(search.trial)
        else:
            self._repeated += 1
        self.finished = search.finished
        last = self.finished or server_round >= self.config.most_rounds
        return problem.head(search.best) if last and self._evaluations else head

    @property
    def note(self) -> str:
        """Say whether it got to the end, and how many rounds lacked a client."""
        told = []
        if self._search is not None and not self.finished:
            told.append(
                f"fedsoftmax ended after {self.config.most_rounds} rounds, about "
                f"{self._search.distance:.1g} of the head's size from the exact one."
            )
        if self._repeated:
            told.append(f"{self._repeated} of its rounds lacked clients and asked again.")
        return " ".join(told)

    def server_state(self) -> Arrays:
        """Return the sums of the opening, the search, the sums at its trial, and who is in them."""
        problem, search = self._begun()
        numbers = [self._asked, self._repeated, self._evaluations]
        return {
            **{f"opening/{name}": value for name, value in problem.sums.items()},
            **{f"search/{name}": value for name, value in search.state().items()},
            **{f"sums/{name}": value for name, value in self._sums.state().items()},
            "members": np.array(sorted(self._members), np.float64),
            "numbers": np.array(numbers, np.float64),
        }

    def restore_server_state(self, state: Arrays) -> None:
        """Restore all of it."""
        parts: dict[str, Arrays] = {"opening": {}, "search": {}, "sums": {}}
        for key, value in state.items():
            part, _, name = key.partition("/")
            if name:
                parts[part][name] = value
        self.starter.solve(parts["opening"])
        _, search = self._begun()
        search.restore(parts["search"])
        self._sums.restore(parts["sums"])
        self._members = set(map(int, state["members"]))
        self._asked, self._repeated, self._evaluations = map(int, state["numbers"])
        self.finished = search.finished

    def _begun(self) -> tuple[SoftmaxProblem, QuasiNewton]:
        """Return the problem that the opening sums pose, and the search for its minimum."""
        problem = self.starter.problem
        if problem is None:
            raise RuntimeError("the statistics of the opening were not asked for")
        if self._search is None:
            self._search = problem.search()
        return problem, self._search

    # --- the client half ----------------------------------------------------------------------

    @property
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Return the form of the summed loss and of its gradient: by weights, then by bias."""
        return {"loss": (1,), "gradient": (self.starter.classes, self.starter.width)}

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Look at a loss and its gradient, whose parts of all classes add up to zero.

        Per example, neither may be more than ``reply-limit`` times what is to be expected.
        """
        loss, gradient, n = float(arrays["loss"][0]), arrays["gradient"], max(told.examples, 1)
        rounding = 1e-6 * (float(np.abs(gradient).sum()) + n)
        if loss < -rounding or float(np.abs(gradient.sum(0)).max()) > rounding:
            return "loss and gradient are not those of a softmax"
        if float(np.abs(gradient[:, -1]).max()) > told.examples + rounding:
            return f"the gradient is not that of {told.examples:,} examples"
        limit = self.config.reply_limit
        return too_large_loss(loss / n, len(gradient), limit) or too_large(
            {"gradient": gradient / n}, told.head, limit
        )

    def client_train(
        self, block: ClientBlock, received: Received, server_round: int
    ) -> list[Trained]:
        """Evaluate loss and gradient at the head that was sent; it is told as training loss."""
        trained = []
        for client, rows in enumerate(block.rows):
            weight, bias = received.head["weight"][client], received.head["bias"][client]
            sums = evaluated(block, client, weight.double(), bias.double())
            trained.append(Trained(sums, float(sums["loss"][0]) / len(rows)))
        return trained

    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Search for each client's own minimum, with as many evaluations as it takes."""
        own = [
            Standardisation.from_moments(Moments.of(block.features, rows)) for rows in block.rows
        ]
        block = block.standardised(own)
        return [
            AloneHead(self._alone(block, client), block.standardisation_of(client))
            for client in range(len(block))
        ]

    def _alone(self, block: ClientBlock, client: int) -> Arrays:
        statistics = self.starter.client_statistics(block, client)
        problem = SoftmaxProblem(statistics, self.options.penalty)
        search = problem.search()
        for _ in range(_LONGEST_ALONE):
            if search.finished:
                break
            point = search.trial
            head = {name: torch.from_numpy(each) for name, each in problem.head(point).items()}
            sums = evaluated(block, client, head["weight"].double(), head["bias"].double())
            loss, gradient = float(sums["loss"][0]), sums["gradient"]
            search.tell(point, *problem.penalised(point, loss, gradient))
        return problem.head(search.best)


class _Sums:
    """Loss and gradient at one head, of the clients that have answered so far.

    Attributes:
        loss: Σ loss.
        gradient: Shape ``(K, d+1)``, float64.
        examples: Rows that are in it.
        clients: Places of their clients.
    """

    def __init__(self, classes: int, width: int) -> None:
        self.loss, self.examples = 0.0, 0
        self.gradient: Floats = np.zeros((classes, width))
        self.clients: set[int] = set()

    def add(self, reply: Reply) -> int:
        """Count a client that is not in it yet; return 1."""
        if reply.client not in self.clients:
            self.clients.add(reply.client)
            self.loss += float(reply.arrays["loss"][0])
            self.gradient += reply.arrays["gradient"]
            self.examples += reply.examples
        return 1

    def state(self) -> Arrays:
        """Return all of it."""
        return {
            "numbers": np.array([self.loss, self.examples]),
            "gradient": self.gradient.copy(),
            "clients": np.array(sorted(self.clients), np.float64),
        }

    def restore(self, state: Arrays) -> None:
        """Take back what :meth:`state` returned."""
        self.loss, self.examples = float(state["numbers"][0]), int(state["numbers"][1])
        self.gradient = state["gradient"].copy()
        self.clients = set(map(int, state["clients"]))


class Opening(SecondMoments):
    """What is asked once before the first round: the sums of Fed3R, and the first step from them.

    Attributes:
        problem: What the sums pose; ``None`` before they came.
    """

    options = SOFTMAX_PENALTY

    problem: SoftmaxProblem | None = None
    start_temperature = 1.0

    def solve(self, statistics: Arrays) -> Arrays:
        """Return the head that round 1 evaluates, on unstandardised features, float64."""
        self.problem = SoftmaxProblem(statistics, self.options.penalty)
        return self.problem.first_on_raw()


def evaluated(block: ClientBlock, client: int, weight: Tensor, bias: Tensor) -> Arrays:
    """Return a client's summed cross-entropy and its gradient at a head, float64.

    Args:
        block: The clients, standardised.
        client: Which of them.
        weight: Shape ``(K, d)``, float64.
        bias: Shape ``(K,)``, float64.
    """
    standardisation = block.standardisation_of(client)
    mean = torch.from_numpy(standardisation.mean).double()
    scale = torch.from_numpy(standardisation.scale).double()
    loss = torch.zeros((), dtype=torch.float64)
    gradient = torch.zeros(len(bias), len(mean) + 1, dtype=torch.float64)
    for rows in torch.split(torch.from_numpy(block.rows[client]), _CHUNK):
        z = (block.features[rows].double() - mean) * scale
        logits = z @ weight.T + bias
        log_p = logits - logits.logsumexp(1, keepdim=True)
        labels = block.labels[rows][:, None]
        loss -= log_p.gather(1, labels).sum()
        residual = log_p.exp()
        residual.scatter_add_(1, labels, torch.full_like(residual[:, :1], -1.0))
        gradient[:, :-1] += residual.T @ z
        gradient[:, -1] += residual.sum(0)
    return {"loss": loss.reshape(1).numpy(), "gradient": gradient.numpy()}


STRATEGY = FedSoftmax
