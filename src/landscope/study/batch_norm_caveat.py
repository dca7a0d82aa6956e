"""What a reader must know of the loss of a model with batch normalisation: a training descends another one."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["batch_norm_caveat"]

_COUNTER = "num_batches_tracked"
"""Buffer of each layer of torch that updates running statistics in train mode; frozen layers have none."""
_STATISTICS = {
    "kept": "the statistics that the model kept",
    "re-estimated": "statistics that are averaged over all data at every point",
}


def batch_norm_caveat(tensor_names: Iterable[str], in_eval: Iterable[str], batch_norm: str) -> str:
    """That the training normalised over minibatches, which the measured loss does not; empty where it did not.

    Args:
        tensor_names: Names of the parameters and buffers of the model.
        in_eval: Names of the modules that were in eval mode while it was trained.
        batch_norm: Setting of the study, ``"kept"`` or ``"re-estimated"``.

    Example:
        >>> batch_norm_caveat(["0.weight", "1.num_batches_tracked"], [], "kept").split(";")[0]
        'the training normalised over each minibatch (train mode, 1 layer)'
        >>> batch_norm_caveat(["1.num_batches_tracked"], ["1"], "kept")
        ''
    """
    layers = {layer for layer, _, name in (full.rpartition(".") for full in tensor_names) if name == _COUNTER}
    count = len(layers - set(in_eval))
    if not count:
        return ""
    return (
        f"the training normalised over each minibatch (train mode, {count} layer{'s' if count > 1 else ''}); the loss, "
        f"its curvature and the gradient noise are those of eval mode with {_STATISTICS[batch_norm]} "
        f'(batch_norm="{batch_norm}"), and the training may have a noise and a noise scale that are several times as '
        "large or as small; the edge of stability alone is measured in train mode"
    )
