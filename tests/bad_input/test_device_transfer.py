"""Transfers from a device that this machine has not, with stand-ins for its tensors and events."""

import torch

from landscope.recorder.transfer import Transfer


def test_a_transfer_waits_for_the_stream_of_the_device_of_its_tensors(monkeypatch):
    class Event:
        def record(self, stream=None):
            self.stream = stream

    class OnDevice:
        is_cuda, device = True, torch.device("cuda:1")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"stream of {device}")
    monkeypatch.setattr(Transfer, "_begun", staticmethod(lambda tensor: tensor))
    transfer = Transfer(OnDevice(), OnDevice(), torch.zeros(2))  # while cuda:0 is the current device
    assert [event.stream for event in transfer._events] == ["stream of cuda:1"]
