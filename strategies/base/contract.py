"""What every strategy states: its server half, its client half, and what they send each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fedtl.config import RunConfig
from fedtl.errors import UsageError
from fedtl.kinds import ZERO_SHOT
from fedtl.options import Options
from fedtl.transfer.client_block import ClientBlock, takes_below
from fedtl.transfer.heads import Head, Tensors
from fedtl.transfer.standardisation import Standardisation
from fedtl.transfer.text_tower import ClassTexts
from strategies.base.coordinates import in_standardised
from strategies.base.halves import (
    AloneHead,
    Arrays,
    LabelledRows,
    Received,
    Reply,
    Trained,
    heads_of,
)
from strategies.base.local_steps import fine_tuned
from strategies.base.plausible import Told, norm, step_size, too_large
from strategies.base.search import Search

Outputs = Literal["probability", "log-odds", "least-squares", "cosine"]


class Contract(ABC):
    """What a strategy for heads on frozen features states of itself, without messages.

    Args:
        config: The run's configuration.
        head: The form of the head.

    Attributes:
        reply_record: Name of the record that carries a training reply's arrays.
        precision: Of these arrays.
        standardises: Whether clients are sent the mean and deviation of all training features.
        one_round: Whether its first round is its last.
        own_start: Whether it brings its own ``starter``, so that ``init`` does not apply to it.
        finished: Whether further rounds would change nothing: the run then ends before ``rounds``.
        own_heads: Whether every client ends with a head of its own by the strategy's own rule.
        global_head: Whether the server ends with a whole head. Where it does not, clients' own
            heads stand in for it wherever a run scores one.
        options: Options of its own; a subclass declares them with
            ``options = Options("prefix", name=Number(…))`` and reads ``self.options.name``.
        search: What ``compare --tune`` may tune of the keys that every run has; an option says it
            by itself.
        outputs: How its head's outputs are to be read. ``probability`` and ``log-odds``: their
            softmax is a probability, by training on cross-entropy or by Bayes' rule;
            ``least-squares``: estimates of one-hot labels; ``cosine``: likenesses to classes.
        class_prior: Which frequency of classes the outputs suppose: that of the ``examples`` it was
            learnt from, or a ``uniform`` one.
        starter: The closed form whose head the first round starts from; ``None`` if that is the
            initial head of its form, or the zero-shot one.
        takes_texts: Whether its server half needs ``texts``.
        texts: What the backbone's text tower makes of the classes' names; ``None`` where the run
            does not ask for it.

    Raises:
        UsageError: The configuration asks of the strategy what it does not have.
    """

    starter: Starter | None = None
    takes_texts: ClassVar[bool] = False
    texts: ClassTexts | None = None
    reply_record = "arrays"
    precision: ClassVar[Literal["float32", "float64"]] = "float32"
    standardises = True
    one_round = False
    own_start = False
    finished = False
    options = Options()
    search: ClassVar[Search] = {}
    own_heads = False
    global_head = True
    outputs: ClassVar[Outputs] = "probability"
    class_prior: ClassVar[Literal["examples", "uniform"]] = "examples"

    def __init__(self, config: RunConfig, head: Head) -> None:
        if self.own_heads and config.personalise:
            raise UsageError(
                f"strategy = {config.strategy!r} gives every client a head of its own already; "
                "use personalise = 0."
            )
        if config.prior_correction and (self.own_heads or config.personalise):
            raise UsageError(
                "prior-correction = true gives clients the global head, read with their own "
                f"frequencies of classes, but {_what_gives_own_heads(self, config)} gives them "
                "another head of their own; leave one of the two out."
            )
        if not self.global_head and config.holdout_site:
            raise UsageError(
                f"strategy = {config.strategy!r} has no global head that could serve "
                f"{config.holdout_site!r}; leave holdout-site empty, or use another strategy."
            )
        self.config = config
        self.head = head

    @abstractmethod
    def aggregate(self, server_round: int, head: Arrays, replies: Iterable[Reply]) -> Arrays | None:
        """Return the next global head, or ``None`` if ``replies`` is empty.

        ``head`` is the one that was sent. ``replies`` come once, in partition-id order, with finite
        arrays of the declared names and shapes; a client that failed is not among them.
        """

    @abstractmethod
    def client_train(
        self, block: ClientBlock, received: Received, server_round: int
    ) -> list[Trained]:
        """Train every client of ``block`` from what it received."""

    @property
    @abstractmethod
    def uplink(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every array that a client's training reply carries: no other leaves."""

    def implausible(self, arrays: Arrays, told: Told) -> str:
        """Return what cannot be in a client's arrays, a clause; empty if there is nothing.

        Both ends look: the client before it sends, the server before it adds. By default arrays may
        not have more than ``reply-limit`` times the norm of the head that was sent.

        Args:
            arrays: Finite, of the declared names, shapes and precision.
            told: What is known of the client.
        """
        return too_large(arrays, told.head, self.config.reply_limit)

    def size(self, arrays: Arrays, told: Told) -> float:
        """Return how large a contribution is, to be held beside other clients': see ``totals``.

        By default it is how far it moves the head. Where no array is named as one of the head's
        is, they are sums over examples, and it is their norm by the example.

        Args:
            arrays: As for ``implausible``.
            told: What is known of the client.
        """
        own = arrays.keys() & told.head.keys()
        if not own:
            return norm(arrays) / max(told.examples, 1)
        return step_size({name: arrays[name] - told.head[name] for name in own}, told.head)

    @abstractmethod
    def train_alone(self, block: ClientBlock) -> list[AloneHead]:
        """Return the head each client would get by itself, with the same method and budget.

        The block's standardisation is the identity: a client by itself has only its own moments.
        """

    @property
    def alone_key(self) -> Hashable:
        """What :meth:`train_alone` depends on but the block: those with equal keys train alike."""
        return type(self), self.config

    @property
    def scores_zero_shot(self) -> bool:
        """Whether a head made of the classes' names stands beside the others."""
        starter = self.starter is not None and self.starter.takes_texts
        named = bool(self.config.prompt) or self.config.init == ZERO_SHOT
        return named or self.takes_texts or starter

    def named_start(self, standardisation: Standardisation) -> Arrays:
        """Return the zero-shot head to train from, float32, on features standardised so."""
        assert self.texts is not None
        temperature = self.config.init_temperature or 1.0
        return in_standardised({**self.texts.head}, standardisation, temperature)

    @property
    def downlink(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every array that the server sends beside the head; float32."""
        return {}

    def to_clients(self) -> Arrays:
        """Return the arrays that :attr:`downlink` names, for the round that begins."""
        return {}

    @property
    def scores_all_rows(self) -> bool:
        """Whether clients score on training rows as well, each left out of the heads that it made.

        A strategy that does sends what :meth:`left_out` needs, in the record ``leverage``, to the
        clients whose rows made the head; to others, all their rows are new.
        """
        return False

    @property
    def leverage(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of what :meth:`left_out` needs beside the head; float32."""
        return {}

    def left_out(self, rows: LabelledRows, head: Tensors, leverage: Tensors) -> Tensor:
        """Return what the final head would say of rows, had it been solved without each of them.

        Args:
            rows: Some that it was solved from.
            head: As the client was sent it, without a client axis.
            leverage: What :attr:`leverage` names.

        Returns:
            Logits, shape ``(n, K)``, float64.
        """
        raise NotImplementedError

    @property
    def memory(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every array that a client keeps between rounds; float32.

        It is kept in Flower's ``Context.state``, at the client, and is sent to nobody.
        """
        return {}

    def initial_memory(self, head: Tensors) -> Tensors:
        """Return what clients remember before they first train: zeros, by default.

        Args:
            head: The head that they were sent, each ``(C, *shape)``.
        """
        clients = len(next(iter(head.values())))
        return {name: torch.zeros(clients, *shape) for name, shape in self.memory.items()}

    @property
    def adjusts_loss(self) -> bool:
        """Whether clients train one head for everybody's mix of classes, and not for their own.

        They are told that mix. What is added to the logits of their loss is
        :func:`fedtl.transfer.prior_correction.log_prior_ratio`.
        """
        wanted = takes_below(self.head) and self.config.blocks_loss == "adjusted"
        return wanted and self.global_head and not self.own_heads

    @property
    def personalises(self) -> bool:
        """Whether every client ends with a head of its own."""
        config = self.config
        return self.own_heads or config.personalise > 0 or config.prior_correction

    def personal_heads(
        self, block: ClientBlock, received: Received, alone: Sequence[AloneHead]
    ) -> list[AloneHead]:
        """Return every client's own head at the end of a run, where clients have one.

        By default the final head, fine-tuned by local SGD for ``personalise`` epochs.

        Args:
            block: The clients, standardised as the server says.
            received: The final head and what clients remember; no arrays of the server.
            alone: Their local-only heads, which are the same under every strategy.
        """
        return heads_of(block, fine_tuned(self.config, self.head, block, received.head))

    def scored(self, received: Received) -> Tensors:
        """Return the heads that clients score before they train, each ``(C, *shape)``.

        By default the global one; without one, what a client would use as things stand.
        """
        return received.head

    @property
    def forewarning(self) -> str:
        """What users must know before the first round; a sentence, or empty."""
        return ""

    @property
    def note(self) -> str:
        """What readers must know of how the run went; a sentence or two, or empty."""
        return ""

    def server_state(self) -> Arrays:
        """Return what the server half must remember between rounds, for checkpoints."""
        return {}

    def restore_server_state(self, state: Arrays) -> None:  # noqa: B027  (most keep nothing)
        """Restore what :meth:`server_state` returned."""


class Starter(Contract):
    """A strategy whose head others can train from."""

    @property
    @abstractmethod
    def start_temperature(self) -> float:
        """What its logits are divided by if other strategies start from its head."""


def _what_gives_own_heads(strategy: Contract, config: RunConfig) -> str:
    if strategy.own_heads:
        return f"strategy = {config.strategy!r}"
    return f"personalise = {config.personalise}"
