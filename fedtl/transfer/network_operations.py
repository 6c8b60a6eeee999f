"""The operations of a network, listed by torch.fx while two batches go through it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.fx.proxy import Attribute, TraceError

from fedtl.transfer.linear_layers import linear_layer

_CONSTANT = (bool, int, str, type(None))
_IN_PLACE = ("setitem", "iadd", "isub", "imul", "itruediv")
_FACTS: tuple[tuple[str, Any, Any], ...] = (
    ("call_method", "size", 0),
    ("call_function", getattr, "device"),
    ("call_function", getattr, "dtype"),
)


_Batch = tuple[Tensor, ...]


def operations_of(network: nn.Module, batches: tuple[_Batch, _Batch]) -> fx.Graph:
    """Return what a network does with its first arguments; all others have their defaults.

    torch.fx alone does not know the shape of what it traces, so it fails at the first condition
    that depends on one. Here what every operation gives is known for two batches of different
    sizes: numbers in which these agree are constants, such as the side of a picture, and the size
    of a batch stays what it is. A module whose own operations cannot be listed is one operation.
    Operations on which nothing depends are left out.

    Args:
        network: In evaluation mode.
        batches: Two batches as it takes them, that differ in how many rows they have, and in their
            numbers.

    Raises:
        Exception: Whatever the network's own code raises if its operations depend on numbers of
            its input.
    """
    with torch.inference_mode(False), torch.no_grad():
        network(*batches[0])  # by then it has what it keeps from its first call
        graph = _Tracer(batches).trace(network)
    for node in reversed(list(graph.nodes)):
        if not (node.users or node.op in ("placeholder", "output") or _in_place(node, network)):
            graph.erase_node(node)
    return graph


def is_fact(node: fx.Node) -> bool:
    """Return whether an operation only says how many rows its input has, of which type and where.

    Whatever else is made of a batch has the same size, type and place.
    """
    told = (node.op, node.target, *node.args[1:])
    return told in _FACTS and node.all_input_nodes[0].target == "x"


class _Seen(fx.Proxy):
    """What an operation gives, and what that is for each batch."""

    def __init__(self, node: fx.Node, tracer: _Tracer, seen: tuple[Any, Any]) -> None:
        super().__init__(node, tracer)
        self.seen = seen

    def __getattr__(self, name: str) -> Any:
        if callable(getattr(self.seen[0], name)):
            return Attribute(self, name)
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __len__(self) -> int:
        first, second = map(len, self.seen)
        if first != second:
            raise TraceError("a length depends on the batch")
        return first

    def __iter__(self) -> Iterator[Any]:
        parts: Any = self
        return iter([parts[at] for at in range(len(self))])


class _Tracer(fx.Tracer):
    def __init__(self, batches: tuple[_Batch, _Batch]) -> None:
        super().__init__()
        self._batches = batches
        firsts = [batch[0] for batch in batches]
        # What is made of whole numbers is of another type.
        facts = _FACTS if firsts[0].is_floating_point() else _FACTS[:-1]
        self._facts = {fact: tuple(_told(fact[2], first) for first in firsts) for fact in facts}
        self._input: Any = None
        self._runs = False

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        def of_one(network: nn.Module, x: Any) -> Any:
            return root_fn(network, x)

        def of_two(network: nn.Module, x: Any, y: Any) -> Any:
            return root_fn(network, x, y)

        taken = of_two if len(self._batches[0]) == 2 else of_one
        traced, given = super().create_args_for_root(taken, is_module, concrete_args)
        self._input = given[1]
        return traced, given

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *others: Any,
        **settings: Any,
    ) -> Any:
        if kind == "placeholder":
            at = "xy".index(target)
            seen: tuple[Any, ...] = tuple(batch[at] for batch in self._batches)
        else:
            seen = tuple(self._run(kind, target, args, kwargs, batch) for batch in (0, 1))
        if type(seen[0]) in _CONSTANT and seen[0] == seen[1]:
            return seen[0]
        for fact, told in self._facts.items():
            if type(seen[0]) is type(told[0]) and seen == told:
                kind, target, args, kwargs = *fact[:2], (self._input, fact[2]), {}
        settings["proxy_factory_fn"] = lambda node: _Seen(node, self, seen)
        made: Any = super().create_proxy(kind, target, args, kwargs, *others, **settings)
        if isinstance(seen[0], Tensor):
            made.node.meta["shape"] = tuple(seen[0].shape[1:])
        return tuple(made) if isinstance(seen[0], (tuple, list)) else made

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # Above a cut, an adapter asks which modules are linear.
        return linear_layer(m) is not None or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._runs:
            return forward(*args, **kwargs)
        last, stack = next(reversed(self.graph.nodes), None), self.module_stack.copy()
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:  # whatever a network's own code raises
            for node in reversed(list(self.graph.nodes)):
                if node is last:
                    break
                self.graph.erase_node(node)
            self.module_stack = stack
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        # Not from the cache, which keeps what may have been erased since.
        return attr_val if self._runs else super().getattr(attr, attr_val, {})

    def _run(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int
    ) -> Any:
        """Return what an operation gives for a batch."""

        def known(value: Any) -> Any:
            return value.seen[batch] if isinstance(value, _Seen) else value

        given, named = map_aggregate(args, known), map_aggregate(kwargs, known)
        self._runs = True
        try:
            if kind == "get_attr":
                return operator.attrgetter(target)(self.root)
            if kind == "call_module":
                return self.root.get_submodule(target)(*given, **named)
            if kind == "call_method":
                return getattr(given[0], target)(*given[1:], **named)
            return target(*given, **named)
        finally:
            self._runs = False


def _told(fact: Any, batch: Tensor) -> Any:
    return getattr(batch, fact) if isinstance(fact, str) else batch.size(fact)


def _in_place(node: fx.Node, network: nn.Module) -> bool:
    """Return whether an operation changes what it is given, so that it counts without a result."""
    if node.op == "call_module":
        parts = network.get_submodule(str(node.target)).modules()
        return any(getattr(part, "inplace", False) for part in parts)
    name = str(getattr(node.target, "__name__", node.target))
    return name.endswith("_") or name in _IN_PLACE or bool(node.kwargs.get("inplace"))
