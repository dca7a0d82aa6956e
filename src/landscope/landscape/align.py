"""The units of one network put in the order of another: weight matching (Ainsworth et al., ICLR 2023)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from landscope._checks import check_kind
from landscope.errors import InputError
from landscope.landscape.unit_groups import UnitGroups, unit_groups
from landscope.parameters import inner_model

__all__ = ["align_units"]

_SWEEPS = 100
_OF_UNITS = ("weight", "bias", "running_mean", "running_var")
_GAIN = 1e-9
"""Relative gain of the agreement below which an order stays."""

Orders = dict[int, Tensor]
"""Group -> order[units]: unit ``order[i]`` comes to place i."""


def align_units(model: nn.Module, reference: nn.Module) -> nn.Module:
    r"""A copy of a model that computes the same, with its hidden units in the order in which they fit a reference.

    The units of a hidden layer may change places without changing what the network computes. Between two trainings
    from different starts they stand in different orders, which makes a barrier on the straight line between them. The
    orders P maximise the agreement of the weights (weight matching, Ainsworth, Hayase and Srinivasa, ICLR 2023, Eq. 5):

    .. math:: \max_P \sum_l \langle W_l^{\text{reference}},\; P_l\, W_l\, P_{l-1}^{\mathsf T} \rangle

    one layer after another by a linear assignment, until none can be improved. That is a local optimum: no barrier
    after it says that the two are in one valley; a barrier may also be left by the search, most in narrow networks.
    Neither network's data are used.

    Args:
        model: The model whose units change places. It is left as it is.
        reference: A model of the same structure, of linear and convolution layers, normalisation by unit (batch,
            instance, and layer normalisation), activations, pooling, flattening, and sums, such as residual ones. The
            units of layers whose outputs are added have one order.

    Returns:
        The copy, with the running statistics of batch normalisation in the same order.

    Raises:
        InputError: If the two are not of the same structure, torch.fx cannot trace them, or they hold a layer for which
            it is not known how units move through it.

    Example:
        >>> import torch
        >>> reference = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> model = copy.deepcopy(reference)
        >>> for weight in (model[0].weight, model[0].bias):
        ...     weight.data = weight.data.flip(0)
        >>> model[2].weight.data = model[2].weight.data.flip(1)
        >>> aligned = align_units(model, reference)
        >>> [bool((aligned[i].weight == reference[i].weight).all()) for i in (0, 2)]
        [True, True]
    """
    for name, value in (("the model", model), ("the reference", reference)):
        check_kind(name, value, nn.Module, hint="Pass the network itself.")
    aligned = copy.deepcopy(inner_model(model))
    ours, theirs = aligned.state_dict(), inner_model(reference).state_dict()
    if {name: value.shape for name, value in ours.items()} != {name: value.shape for name, value in theirs.items()}:
        raise InputError(
            expected="two models of the same structure", got="weights of other names or shapes",
            hint="Make both models by the same function.",
        )  # fmt: skip
    groups = unit_groups(aligned)
    matching = _Matching(groups, ours, theirs)
    orders = matching.best()
    with torch.no_grad():
        for name, value in _ordered(groups, ours, orders).items():
            ours[name].copy_(value)
    return aligned


class _Matching:
    """The agreement of two networks as a function of the orders of the units of one, in float64."""

    def __init__(self, groups: UnitGroups, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
        self._groups = groups
        self._own_readers = {layer.makes for layer in groups.weighted if layer.makes == layer.reads}
        self._ours, self._theirs = ({n: v.detach().cpu().double() for n, v in s.items()} for s in (ours, theirs))

    def best(self) -> Orders:
        """The better of two local optima: from the orders as they are, and from orders found layer by layer."""
        as_they_are = {group: torch.arange(size) for group, size in self._groups.sizes.items()}
        found = [self._improved(orders) for orders in (as_they_are, self._from_the_inputs())]
        return max(found, key=self._agreement)

    def _from_the_inputs(self) -> Orders:
        """Orders by what each layer reads, from units that have an order by then: exact for a network and its copy."""
        orders: Orders = {}
        for group in self._groups.sizes:
            orders[group] = _assigned(self._similarity(group, orders, of_readers=False))
        return orders

    def _improved(self, orders: Orders) -> Orders:
        for _ in range(_SWEEPS):
            changed = False
            for group in self._groups.sizes:
                similarity = self._similarity(group, orders, of_readers=True)
                places = torch.arange(len(similarity))
                order = _assigned(similarity)
                before, after = similarity[places, orders[group]].sum(), similarity[places, order].sum()
                if float(after - before) > _GAIN * float(similarity.abs().max()):
                    changed_orders = {**orders, group: order}
                    # A layer that reads the units that it makes depends on their order twice.
                    if group in self._own_readers and self._agreement(changed_orders) <= self._agreement(orders):
                        continue
                    orders, changed = changed_orders, True
            if not changed:
                break
        return orders

    def _similarity(self, group: int, orders: Orders, *, of_readers: bool) -> Tensor:
        """``[units of the reference, our units]``: products of the weights that go with the order of one group."""
        size = self._groups.sizes[group]
        total = torch.zeros(size, size, dtype=torch.float64)
        for layer in self._groups.weighted:
            ours, theirs = (s[f"{layer.name}.weight"] for s in (self._ours, self._theirs))
            if layer.makes == group:
                if layer.reads in orders or layer.reads not in self._groups.sizes:
                    total += theirs.flatten(1) @ _reading(ours, orders.get(layer.reads)).flatten(1).T
                if f"{layer.name}.bias" in self._ours:
                    total += self._of_entries(f"{layer.name}.bias")
            if of_readers and layer.reads == group:
                read = _made(ours, orders.get(layer.makes))
                total += _by_unit(theirs, size) @ _by_unit(read, size).T
        for name, of in self._groups.norms.items():
            for entry in (f"{name}.weight", f"{name}.bias") if of == group else ():
                if entry in self._ours:
                    total += self._of_entries(entry)
        return total

    def _of_entries(self, name: str) -> Tensor:
        return _by_entry(self._theirs[name]) @ _by_entry(self._ours[name]).T

    def _agreement(self, orders: Orders) -> float:
        moved = _ordered(self._groups, self._ours, orders)
        names = [name for name in moved if name.endswith(("weight", "bias"))]
        return sum(float((self._theirs[name] * moved[name]).sum()) for name in names)


def _assigned(similarity: Tensor) -> Tensor:
    return torch.from_numpy(linear_sum_assignment(similarity.numpy(), maximize=True)[1])


def _by_entry(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)


def _by_unit(weight: Tensor, size: int) -> Tensor:
    """What reads each unit, ``[units, readers]``; after flattening a unit stands at several inputs in a row."""
    return weight.unflatten(1, (size, -1)).movedim(1, 0).flatten(1)


def _reading(weight: Tensor, order: Tensor | None) -> Tensor:
    """A weight that reads units in another order."""
    if order is None:
        return weight
    return weight.unflatten(1, (len(order), -1))[:, order.to(weight.device)].flatten(1, 2)


def _made(weight: Tensor, order: Tensor | None) -> Tensor:
    """A weight that makes units in another order."""
    return weight if order is None else weight[order.to(weight.device)]


def _ordered(groups: UnitGroups, state: Mapping[str, Tensor], orders: Orders) -> dict[str, Tensor]:
    """What changes in a state with its units in these orders."""
    moved: dict[str, Tensor] = {}
    for layer in groups.weighted:
        name = f"{layer.name}.weight"
        moved[name] = _made(_reading(state[name], orders.get(layer.reads)), orders.get(layer.makes))
        if f"{layer.name}.bias" in state:
            moved[f"{layer.name}.bias"] = _made(state[f"{layer.name}.bias"], orders.get(layer.makes))
    for layer_name, group in groups.norms.items():
        names = (f"{layer_name}.{entry}" for entry in _OF_UNITS)
        moved |= {name: _made(state[name], orders.get(group)) for name in names if name in state}
    return moved
