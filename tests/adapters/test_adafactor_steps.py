"""Step sizes of the Adafactor of transformers, which stores other states than that of torch."""

import pytest
import torch

from landscope.step_size import MovedWeights, StepSizes

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("options", [{"scale_parameter": False}, {"scale_parameter": True, "beta1": 0.9}])
def test_they_are_the_steps_for_a_lasting_gradient(options):
    """Of gradients of rank one; the last one is larger, and clipped."""
    gradients = [torch.tensor([[2.0, -1.0, 0.5], [4.0, -2.0, 1.0]]), torch.tensor([3.0, -0.01])]
    tensors = [torch.nn.Parameter(torch.ones_like(gradient)) for gradient in gradients]
    optimizer = transformers.Adafactor(tensors, lr=1e-3, relative_step=False, **options)
    sizes = StepSizes(optimizer, tensors)
    for factor in [1] * 200 + ([5] if "beta1" not in options else []):
        before = MovedWeights(optimizer, tensors).flat()
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = factor * gradient
        optimizer.step()
    moved = before - MovedWeights(optimizer, tensors).flat()
    expected = moved / (factor * torch.cat([gradient.flatten() for gradient in gradients]))
    assert torch.allclose(sizes.after_step(), expected, rtol=0.01)
    assert sizes.are_known()
