"""Where a network can be cut in two, so that what is below stays frozen and the rest is trained."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from fedtl.errors import UsageError
from fedtl.transfer.masked_rows import packed, there_of, vectors_of
from fedtl.transfer.network_operations import is_fact, operations_of
from fedtl.wording import count_of

# Networks of Hugging Face's are held in one of fedtl's by this name, which their own names lack.
_HELD = "model."

INPUT = "input"
"""What stands for the cut below which there is nothing."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
)
# Inputs that a cut is checked with: as many as no batch has that operations are listed with.
_CHECKED = 3
# Of the largest feature.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Halves:
    """A network in two: ``above(below(x))`` is what the network makes of ``x``.

    Attributes:
        below: From the input to what crosses the cut, one tensor.
        above: From there to the features; its parameters have the names that they have in the
            network.
        name: The module before which the cut is.
        blocks: How many blocks are above.
    """

    below: nn.Module
    above: nn.Module
    name: str
    blocks: int


class Cuttable:
    """A network as a sequence of operations, which tells where one tensor alone passes.

    Args:
        network: In evaluation mode; it takes one tensor, or tokens and 1 for those that are there.
        name: What it is called, for messages.
        example: A batch as it takes it.

    Raises:
        UsageError: It takes more, or its operations depend on its input, so that they cannot be
            listed.
    """

    def __init__(self, network: nn.Module, name: str, example: tuple[Tensor, ...]) -> None:
        self._network, self._name, self._example = network, name, example
        if len(example) > 2 or any(part.dim() != 2 for part in example[1:]):
            raise UsageError(
                f"{name} cannot be cut into blocks, as it takes more than one tensor; use "
                "trainable-blocks = 0, or a network for pictures."
            )
        try:
            graph = operations_of(network, (self._batch(1), self._batch(2)))
        except Exception as error:  # whatever a network's own code raises
            raise UsageError(
                f"{name} cannot be cut into blocks, as its operations cannot be listed "
                f"({type(error).__name__}); use trainable-blocks = 0, or a network of torchvision."
            ) from error
        self._nodes = list(graph.nodes)

    @cached_property
    def blocks(self) -> list[str]:
        """The modules that count as blocks, from the input on: what ``trainable-blocks`` counts.

        Blocks are the parts of the network's trunk that have parameters, and before which one
        tensor alone passes: a residual block, a convolution of VGG, a layer of a transformer.
        Normalisations by themselves are none.
        """
        return sorted(self._blocks_in(self._network, ""), key=self._entries.__getitem__)

    def before_last(self, count: int) -> Halves:
        """Return the network, cut before the last ``count`` blocks.

        Raises:
            UsageError: It has fewer.
        """
        if count > len(self.blocks):
            told = (
                f"{self._name} has no blocks that could be trained; use trainable-blocks = 0, or "
                "a network of torchvision, such as backbone = mobilenet_v2."
            )
            if any(map(self._can_be_cut, (INPUT, *self.blocks))):
                has = count_of(len(self.blocks), "block") + self._listed()
                if self._can_be_cut(INPUT):
                    has += f"; train-from = {INPUT!r} trains all of it"
                told = f"trainable-blocks = {count}, but {self._name} has {has}."
            raise UsageError(told)
        return self.before(self.blocks[-count])

    def before(self, module: str) -> Halves:
        """Return the network, cut before a module; before everything for ``input``.

        Raises:
            UsageError: There is no such module, more than one tensor passes there, or the halves
                are not the whole.
        """
        if module == INPUT:
            at = 1 + next(i for i, node in enumerate(self._nodes) if node.op == "placeholder")
        elif module not in self._entries and _HELD + module in self._entries:
            return self.before(_HELD + module)
        elif module not in self._entries:
            known = [INPUT, *self._entries]
            near = difflib.get_close_matches(module, known, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise UsageError(
                f"train-from = {module!r} is no module of {self._name}{meant}{self._listed()}."
            )
        else:
            at = self._entries[module]
        if at not in self._single:
            raise UsageError(
                f"train-from = {module!r}: more than one tensor passes there in {self._name}"
                f"{self._listed()}."
            )
        count = sum(self._entries[block] >= at for block in self.blocks)
        halves = Halves(self._part(0, at), self._part(at, len(self._nodes)), module, count)
        if not self._is_whole(halves):
            raise UsageError(
                f"{self._name} cannot be cut before {module}, as it computes something else in two "
                "parts; use trainable-blocks = 0, or a network of torchvision, such as backbone = "
                "mobilenet_v2."
            )
        return halves

    def _can_be_cut(self, place: str) -> bool:
        """Return whether something can be trained from what passes before a module."""
        try:
            with torch.inference_mode():
                return bool(self.before(place).below(*self._example).is_floating_point())
        except UsageError:
            return False

    def _is_whole(self, halves: Halves) -> bool:
        """Return whether halves give what the network gives, but for rounding.

        What crosses a cut is laid out anew in memory, where some products sum in another order.
        """
        inputs = self._batch(_CHECKED)
        with torch.inference_mode():
            whole = self._network(*inputs)
            try:
                found = halves.above.forward(halves.below.forward(*inputs).clone())
            except Exception:  # whatever a network's own code raises
                return False
        alike = bool(found.shape == whole.shape)
        largest = float(whole.abs().nan_to_num().max()) if alike else 0.0
        return alike and torch.allclose(
            found, whole, rtol=0, atol=_ROUNDING * largest, equal_nan=True
        )

    def _batch(self, rows: int) -> tuple[Tensor, ...]:
        """Return inputs of random numbers, of which different places count."""
        first, *masks = self._example
        draws = torch.Generator().manual_seed(rows)
        shape = (rows, *first.shape[1:])
        if first.is_floating_point():
            inputs = torch.randn(shape, generator=draws, dtype=first.dtype)
        else:
            inputs = torch.randint(int(first.max()) + 1, shape, generator=draws, dtype=first.dtype)
        if not masks:
            return (inputs,)
        length = masks[0].shape[1]
        counts = 1 + torch.arange(rows)[:, None] * (length - 1) // rows
        return inputs, (torch.arange(length) < counts).to(masks[0].dtype)

    def _listed(self) -> str:
        before = f"it can be cut before {', '.join(self.blocks)}"
        return f"; {before if self.blocks else 'it has no blocks'}"

    @cached_property
    def _entries(self) -> dict[str, int]:
        """Return at which operation each module begins."""
        found: dict[str, int] = {}
        for at, node in enumerate(self._nodes):
            for path, _ in node.meta.get("nn_module_stack", {}).values():
                found.setdefault(path, at)
            if node.op in ("call_module", "get_attr"):
                found.setdefault(str(node.target), at)
        return found

    @cached_property
    def _single(self) -> dict[int, fx.Node]:
        """Return the operations before which one tensor alone passes, and what made that tensor."""
        last = {
            used: at
            for at, node in enumerate(self._nodes)
            if not is_fact(node)
            for used in node.all_input_nodes
        }
        found, passing = {}, set[fx.Node]()
        for at in range(1, len(self._nodes)):
            made = self._nodes[at - 1]
            if made in self._moving and made in last:
                passing.add(made)
            passing = {node for node in passing if last[node] >= at}
            if len(passing) == 1:
                (found[at],) = passing
        return found

    @cached_property
    def _moving(self) -> set[fx.Node]:
        """Return the operations that depend on numbers of the first input.

        Both sides repeat the others, such as what is made of which tokens are there.
        """
        found = set[fx.Node]()
        for node in self._nodes:
            follows = not found.isdisjoint(node.all_input_nodes) and not is_fact(node)
            if node is self._nodes[0] or follows:
                found.add(node)
        return found

    def _blocks_in(self, module: nn.Module, path: str) -> Iterator[str]:
        for name, child in module.named_children():
            here = f"{path}.{name}" if path else name
            if not any(True for _ in child.parameters()):
                continue
            if type(child) in _CONTAINERS or self._is_trunk(child, here):
                yield from self._blocks_in(child, here)
            elif self._begins_block(here) and not _normalises(child):
                yield here

    def _begins_block(self, path: str) -> bool:
        return self._entries.get(path, -1) in self._single

    def _is_trunk(self, module: nn.Module, path: str) -> bool:
        """Return whether a module but holds blocks of one kind, one after the other."""
        lists = [(path, module)]
        lists += [
            (f"{path}.{name}", child)
            for name, child in module.named_children()
            if type(child) in _CONTAINERS
        ]
        for where, held in lists:
            members = [(f"{where}.{name}", child) for name, child in held.named_children()]
            alike = len(members) > 1 and len({type(child) for _, child in members}) == 1
            if alike and all(_is_deep(child) for _, child in members):
                used = [name for name, _ in members if name in self._entries]
                return bool(used) and all(map(self._begins_block, used[1:]))
        return any(
            self._is_trunk(child, f"{path}.{name}") for name, child in module.named_children()
        )

    def _part(self, start: int, end: int) -> nn.Module:
        """Return the operations from one to before another as a module."""
        graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        masks = [node for node in self._nodes[1:] if node.op == "placeholder"]
        if start:
            crossing = graph.placeholder("x")
            copies = dict.fromkeys((self._nodes[0], self._single[start]), crossing)
            if masks:
                vectors = vectors_of, (crossing, self._single[start].meta["shape"])
                copies = dict.fromkeys(copies, graph.call_function(*vectors))
                told = (crossing, self._example[1].shape[1], self._example[1].dtype)
                copies[masks[0]] = graph.call_function(there_of, told)
            needed = set(self._nodes[start:end])
            for node in reversed(self._nodes[:start]):
                if node not in self._moving and not needed.isdisjoint(node.users):
                    needed.add(node)
            for node in self._nodes[:start]:
                if node in needed and node not in copies:
                    copies[node] = graph.node_copy(node, copies.__getitem__)
        for node in (*self._nodes[start:end], *(masks if not start else ())):
            if node not in copies:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        if end < len(self._nodes):
            found = copies[self._single[end]]
            if masks:
                found = graph.call_function(packed, (found, copies[masks[0]]))
            graph.output(found)
        return fx.GraphModule(self._network, graph)


def _is_deep(module: nn.Module) -> bool:
    """Return whether a module is more than a layer or two: it has modules in its modules."""
    parts = list(module.children())
    return len(parts) > 3 or any(True for child in parts for _ in child.children())


def _normalises(module: nn.Module) -> bool:
    """Return whether all parameters of a module belong to normalisations."""
    return all(
        isinstance(part, _NORMALISATIONS) or type(part).__name__.endswith("Norm")
        for part in module.modules()
        if any(True for _ in part.parameters(recurse=False))
    )
