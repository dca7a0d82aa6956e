"""How a model is called: the signature of its forward method says whether the parts are single arguments."""

import gc
import weakref

from torch import nn

from landscope.risk import data
from landscope.risk.data import call_model


class Named(nn.Module):
    def forward(self, a, b=1):
        return a + b


class Whole(nn.Module):
    def forward(self, batch):
        return batch


def test_the_signature_is_read_once(monkeypatch):
    reads = []
    signature = data.inspect.signature
    monkeypatch.setattr(data.inspect, "signature", lambda f: (reads.append(f), signature(f))[1])
    model = Named()
    assert [call_model(model, (1, b)) for b in range(3)] == [1, 2, 3]
    assert call_model(model, {"a": 1, "b": 5}) == 6
    assert len(reads) == 1


def test_a_replaced_forward_is_read_again():
    model = Named()
    assert call_model(model, (1, 2)) == 3
    model.forward = lambda batch: batch
    assert call_model(model, (1, 2)) == (1, 2)
    assert call_model(Whole(), (1, 2)) == (1, 2)


def test_a_signature_keeps_no_model_alive():
    model = Named()
    call_model(model, (1, 2))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
