"""The device on which these tests compare, count and measure: ``make test-device``."""

import pytest
import torch


@pytest.fixture(scope="session")
def gpu(request):
    """The device of ``--device``; the tests are skipped unless they were asked for, and where there is none."""
    device = torch.device(request.config.getoption("--device"))
    if not request.config.getoption("--device-tests"):
        pytest.skip("compares a GPU with the processor: make test-device")
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no GPU; make test-device DEVICE=cpu runs the same code on the processor")
    return device
