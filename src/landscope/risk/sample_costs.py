"""What sums over single-sample gradients cost, by layers or sample by sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from torch import nn

from landscope.risk.layer_calls import Call
from landscope.risk.layer_groups import LayerGroup, selected_names
from landscope.risk.layer_terms import is_transposed_linear

__all__ = ["SampleCosts"]

_NUMBER, _KEPT_NUMBER = 32.0, 48.0
"""Multiplications in the time in which one number of a gradient is powered and added, by layers and sample by sample.

The numbers pass through memory, those of a product of matrices do not: 14 to 56 on a processor, for matrices of 32 to
768 rows. Sample by sample, the gradients of all layers are kept together."""
_DOUBLE = 2.0
"""Multiplications in the time of one in float64."""
_TEST = 6.0
"""Passes by which layers are tested beside their sums for a block: backward for four slopes, forward and backward."""


@dataclasses.dataclass(frozen=True)
class SampleCosts:
    r"""Multiplications for one block of samples.

    With W weights and T positions of each of n samples, a layer multiplies n T W times forward, F for all layers; as
    often backward to its inputs; and as often for the gradients of all samples, of which n W numbers are powered and
    added. This makes G for all layers, whichever way is taken. But with T = 1 the power of a product is the product of
    the powers: by layers, one product of matrices with n W multiplications then serves all slopes. And of a table, only
    the rows that a sample reads have a gradient. For K slopes of each sample,

    .. math:: F + G_1 + K (F + G_K) \quad\text{by layers}, \qquad F + K (2 F + G) \quad\text{sample by sample},

    as each sample is evaluated anew for each slope. Weights that cannot take part by their layers need the second way
    beside the first one, with its passes through the model.

    Args:
        forward: Multiplications of one pass, F.
        once: Those for the gradients by layers that serve all slopes, :math:`G_1`.
        each: Those for the gradients by layers for each slope, :math:`G_K`.
        others: Those for the gradients of all other weights; None if all take part by their layers.
        every: Those for all gradients, sample by sample, G.
    """

    forward: float
    once: float
    each: float
    others: float | None
    every: float

    @classmethod
    def of(
        cls,
        groups: Mapping[str, LayerGroup],
        layers: Mapping[str, nn.Module],
        calls: Mapping[str, Sequence[Call]],
        sizes: Mapping[str, int],
        n: int,
    ) -> SampleCosts:
        """The costs for the block in which layers are called.

        Args:
            groups: Those that take part by their layers.
            layers: All layers whose calls are known.
            calls: Their calls.
            sizes: Numbers of weights of the selected parameters.
            n: Number of samples.
        """
        products = {name: _multiplications(layer, calls[name]) for name, layer in layers.items()}
        own = dict.fromkeys(sizes, 0.0)
        once = each = 0.0
        for group in groups.values():
            for name, uses in group.uses.items():
                layer, numbers = uses[0][0], n * sizes[name]
                own[name] = sum(products[layer] for layer, local in uses if local == "weight")
                if len(uses) == 1 and isinstance(layers[layer], nn.Embedding):
                    each += _NUMBER * sum(output.numel() for _, output in calls[layer])
                elif len(uses) == 1 and 0 < own[name] <= numbers:
                    once += _DOUBLE * own[name]
                else:
                    each += own[name] + _NUMBER * numbers
        single = {name: own[name] + _KEPT_NUMBER * n * size for name, size in sizes.items()}
        left = [single[name] for name in sizes.keys() - selected_names(groups)]
        return cls(sum(products.values()), once, each, sum(left) if left else None, sum(single.values()))

    def by_layers(self, n_slopes: int) -> float:
        """The multiplications by layers, with those for the other weights."""
        others = 0.0 if self.others is None else self.forward + n_slopes * (2 * self.forward + self.others)
        return self.forward + self.once + n_slopes * (self.forward + self.each) + others

    def by_samples(self, n_slopes: int) -> float:
        """The multiplications sample by sample."""
        return self.forward + n_slopes * (2 * self.forward + self.every)

    @property
    def test(self) -> float:
        """The multiplications by which layers are tested for one block."""
        return _TEST * self.forward + self.once + self.each


def _multiplications(layer: nn.Module, calls: Sequence[Call]) -> float:
    """Those of all calls of a layer: none of a table or a normalisation."""
    weight = layer._parameters.get("weight")
    if weight is None or weight.ndim < 2 or isinstance(layer, nn.Embedding | nn.LayerNorm | nn.RMSNorm):
        return 0.0
    channels = weight.shape[1 if is_transposed_linear(layer) else 0]
    return sum(output.numel() for _, output in calls) / channels * weight.numel()
