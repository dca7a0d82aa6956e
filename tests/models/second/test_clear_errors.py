"""What a kind of model or loss does not allow is refused with the way on, and what moves elsewhere moves no risk."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError, LandscopeWarning
from models.second import generative, structured, training


def test_a_discriminator_that_trains_on_moves_no_risk():
    model = generative.generator()
    risk = generative.GAN.risk(model)
    before = float(risk(risk.w0))
    weight = generative.DISCRIMINATOR[0].weight
    with torch.no_grad():
        weight.add_(1)
        after, new = float(risk(risk.w0)), float(generative.GAN.risk(model)(risk.w0))
        weight.sub_(1)
    assert after == before != new


def test_losses_that_compare_samples_have_no_fisher_information_of_samples():
    risk = generative.CONTRASTIVE.risk(generative.CONTRASTIVE.model())
    with pytest.raises(InputError, match=r"compare the samples of a batch.*ldc"):
        risk.fisher_information().diagonal(risk.w0, "empirical")


def test_one_loss_for_a_batch_says_how_its_noise_is_found():
    model = structured.GraphNetwork()
    risk = structured.GRAPH.risk(model)
    with pytest.raises(InputError, match=r"minibatches\(None\)"):
        risk.minibatches(5)
    with pytest.raises(InputError, match="Return the loss of each sample"):
        ls.TaskMemory(model, method="ewc", strength=1.0).consolidate_at(risk)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_criterion_of_graphs_needs_their_number():
    def criterion(outputs, targets):
        return (outputs - targets).square().mean()

    data = [((b["nodes"], b["edges"], b["graph"]), b["y"]) for b in structured.GRAPHS]
    model = structured.GraphNetwork()
    risk = ls.EmpiricalRisk(model, criterion, data, count=lambda batch: len(batch[1]))
    assert float(risk(risk.w0)) == pytest.approx(float(structured.GRAPH.risk(model)(risk.w0)), rel=1e-6)
    with pytest.raises(InputError, match="pass count=f"):
        ls.EmpiricalRisk(model, criterion, data)


def test_dividing_by_the_lengths_of_the_labels_is_the_mean_of_torch():
    outputs, targets = structured.SPOKEN[0]
    log_probabilities = outputs.log_softmax(dim=-1).transpose(0, 1)
    mean = nn.CTCLoss()(log_probabilities, targets["labels"], targets["frames"], targets["lengths"])
    assert float(structured.alignments(outputs, targets).mean()) == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.parametrize("method", ["ewc", "kfac", "mas"])
def test_a_differential_equation_is_kept_by_methods_that_need_only_the_loss(method):
    model = structured.sine_network()
    memory = ls.TaskMemory(model, method=method, strength=1.0)
    with pytest.raises(InputError, match=r"takes derivatives by its inputs.*ldc"):
        memory.consolidate_at(structured.PINN.risk(model))


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_factors_of_a_model_of_forces_are_refused():
    model = structured.Potential()
    memory = ls.TaskMemory(model, method="kfac", strength=1.0)
    with pytest.raises(InputError, match=r"takes derivatives by its inputs.*ldc"):
        memory.consolidate_at(structured.FORCES.risk(model))


class TwoCalls(torch.optim.Optimizer):
    """Sharpness-aware minimisation as it is often written: its own step is never called."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})
        self.base_optimizer = torch.optim.SGD(self.param_groups, lr=0.1)

    def second_step(self):
        self.base_optimizer.step()


def test_an_optimiser_whose_step_is_not_called_says_which_one_to_record():
    model = training.network()
    optimizer = TwoCalls(model.parameters())
    recorder = ls.TrajectoryRecorder(model, optimizer).__enter__()
    F.cross_entropy(model(training.INPUTS), training.LABELS).backward()
    optimizer.second_step()
    with pytest.warns(LandscopeWarning, match=r"optimizer\.base_optimizer"):
        recorder.__exit__(None, None, None)
    with pytest.raises(InputError, match="pass that one to the recorder"):
        recorder.trajectory()


def test_averaged_weights_of_a_model_of_another_shape_are_refused():
    model = training.network()
    memory = ls.TaskMemory(model, method="l2", strength=1.0)
    with pytest.raises(InputError):
        memory.consolidate(nn.CrossEntropyLoss(), (training.INPUTS, training.LABELS), w0=nn.Linear(2, 2))
