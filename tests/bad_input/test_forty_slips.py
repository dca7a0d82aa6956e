"""Natural slips of a user with a model of her own: each gets an error of landscope that says what to do."""

import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import landscope as ls
from landscope.errors import InputError, LandscopeError, NondeterministicLossError, NonFiniteError
from landscope.errors import StorageError as Storage
from own_model import CE, MSE, ONE_HOT, X, Y, losses_of, net, of, of_closure, recorded, sgd, step

NO_LOSSES = "to return a tensor; got {}. Return the loss of each sample"


def flatness_of(risk):
    return ls.flatness(risk, risk.w0, torch.eye(risk.space.dim)[:2])


def trained(**options):
    model = net()
    memory, optimizer = ls.TaskMemory(model, n_modes=2, **{"method": "ldc", **options}), sgd(model)
    with memory.training(optimizer):
        step(model, optimizer, 5)
    return memory


def in_inference_mode():
    with torch.inference_mode():
        of()


def reshaped(model, optimizer, _):
    model[0].weight.data, model[0].weight.grad = torch.zeros(5, 5), None
    optimizer.step()


def made_nan(model, optimizer, _):
    model[0].weight.data.fill_(math.nan)
    optimizer.step()


def without_steps():
    model = net()
    recorder = ls.TrajectoryRecorder(model, sgd(model))
    step(model, sgd(model))  # of another optimiser
    recorder.trajectory()


def inside_the_training():
    model = net()
    memory, optimizer = ls.TaskMemory(model, n_modes=2, method="ldc"), sgd(model)
    with memory.training(optimizer):
        step(model, optimizer)
        memory.consolidate(CE, (X, Y))


def with_train_mode(model, batch):
    model.train()
    return losses_of(model, batch)


def with_backward(model, batch):
    losses = losses_of(model, batch)
    losses.sum().backward()
    return losses


class Broken(Dataset):
    def __init__(self, sample):
        self._sample = sample

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self._sample(index)


def no_image(_):
    raise FileNotFoundError("cat.png")


def exhausted():
    batches = (batch for batch in [(X, Y)])
    of(data=batches)
    of(data=batches)


def file_in_place_of_the_folder(folder):
    (folder / "run").write_text("mine")
    ls.Study(folder / "run", net(), CE, (X, Y))


def opened_under_a_file(folder):
    (folder / "mine").write_text("mine")
    ls.Study(folder / "mine" / "run", net(), CE, (X, Y))


def other_state():
    memory = trained()
    memory.consolidate(CE, (X, Y))
    ls.TaskMemory(nn.Linear(4, 3), n_modes=2, method="ldc").load_state_dict(memory.state_dict())


def zero_loss():
    model = nn.Linear(4, 1)
    flatness_of(of(MSE, (X, model(X).detach()), model))


def dropout():
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3))


def nan_net():
    model = net()
    with torch.no_grad():
        model[0].bias.fill_(math.nan)
    return model


ONE_NAN = X.index_fill(0, torch.tensor([10]), math.nan)
NANS, ROWS = torch.full_like(X, math.nan), ls.Trajectory.of(torch.randn(20, 7))
SLIPS = {
    # targets
    "labels in a column": (lambda: of(data=(X, Y[:, None])), InputError, r"targets \[12, 1\].*Check the shape"),
    "labels as floats": (lambda: of(data=(X, Y.float())), InputError, "of float32; got.*class labels are integers"),
    "one-hot integers": (lambda: of(data=(X, ONE_HOT)), InputError, r"targets \[12, 3\] of int64.*Check the shape"),
    "labels from one": (lambda: of(data=(X, Y + 1)), InputError, "labels from 0 to 2.*got label 3.*an output for each"),
    "labels from minus one": (lambda: of(data=(X, Y - 1)), InputError, "at least 0.*got label -1. Check the labels"),
    "targets without a last axis": (lambda: of(MSE, (X, Y.float())), InputError, r"shape \[12\].*targets\[:, None\]"),
    "targets of another width": (lambda: of(MSE, (X, torch.ones(12, 2))), InputError, r"\[12, 3\]; got.*\[12, 2\]"),
    "half of the targets": (lambda: of(data=(X, Y[:6])), InputError, "12 inputs, 6 targets. Pass one target for each"),
    "targets as words": (lambda: of(data=[(X, ["cat"] * 12)]), InputError, "targets of type list.*Check the shape"),
    # inputs
    "inputs in double": (lambda: of(data=(X.double(), Y)), InputError, r"of float64.*float32: pass inputs.float\(\)"),
    "inputs as arrays": (lambda: of(data=[(X.numpy(), Y)]), InputError, r"type ndarray.*torch.as_tensor\(array\)"),
    "a loader with the index": (
        lambda: of(data=DataLoader(TensorDataset(X, Y, torch.arange(12)), 4)), InputError,
        r"last item of a batch is the targets.*\[\(x, y\) for x, y, _ in loader\]",
    ),
    "other keywords than those of the model": (
        lambda: of(data=[{"x": X, "label": Y}]), InputError, "under labels, .*Sequential.forward, which are: input",
    ),
    "inputs of another width": (lambda: of(data=(X[:, :3], Y)), InputError, r"\[1, 3\] of float32. Check their shape"),
    "inputs as words": (lambda: of(data=[(["cat"] * 12, Y)]), InputError, "inputs that Sequential accepts.*type list"),
    "inputs without values": (lambda: of(data=(X.to("meta"), Y)), InputError, "the meta device.*Pass data on the CPU"),
    "a batch without values": (
        lambda: of_closure(losses_of, [(X.to("meta"), Y)]), InputError, "the meta device.*Pass data on the CPU",
    ),
    "NaN in the inputs": (lambda: of(data=(NANS, Y)), NonFiniteError, "NaN in 12 rows.*Leave out or replace"),
    "NaN in one of the last inputs": (
        lambda: of(data=DataLoader(TensorDataset(ONE_NAN, Y), batch_size=3)), NonFiniteError, "NaN in 1 rows.*Leave",
    ),
    "NaN in the second batch of a function": (
        lambda: of_closure(losses_of, [(X, Y), (ONE_NAN, Y)]), NonFiniteError, "NaN in 1 rows.*Leave out or replace",
    ),
    "NaN in the weights": (lambda: of(model=nan_net()), NonFiniteError, "got NaN. Check whether the weights"),
    "only ignored labels": (
        lambda: of(data=(X, torch.full_like(Y, -100))), InputError, "one counted target.*only ignored.*-100 by default",
    ),
    "only ignored labels of EWC": (
        lambda: ls.TaskMemory(net(), method="ewc", strength=1).consolidate(CE, (X, torch.full_like(Y, -100))),
        InputError, "one counted target; got only ignored targets",
    ),
    "weights of zero": (
        lambda: of_closure(lambda m, b: (losses_of(m, b) * 0, torch.zeros(12))), InputError, "weights of zero. Check",
    ),
    # data
    "an empty loader": (lambda: of(data=[]), InputError, "at least one sample; got no data. Check the loader"),
    "an exhausted generator": (exhausted, InputError, "at least one sample; got no data. Check the loader"),
    "no batches": (lambda: of_closure(losses_of, None), InputError, "iterable of batches.*NoneType. Pass a DataLoader"),
    "batches without labels": (lambda: of(data=[{"x": X, "z": Y}]), InputError, "got x, z. Rename the targets"),
    "one mapping": (lambda: of(data={"x": X, "labels": Y}), InputError, "iterable of such batches; got dict. Pass"),
    "one mapping for a function": (lambda: of_closure(losses_of, {"x": X}), InputError, r"one batch is \[batch\]"),
    "the path of the data": (lambda: of(data="train.csv"), InputError, "got str. Pass a DataLoader"),
    "single samples": (lambda: of(data=list(zip(X, Y, strict=True))), InputError, r"got single samples. Pass.*DataLoa"),
    "arrays of numpy": (lambda: of(data=(X.numpy(), Y.numpy())), InputError, r"two arrays.*torch.as_tensor\(inputs"),
    "a missing file": (lambda: of(data=Broken(no_image)), InputError, "FileNotFoundError: cat.png. The data themselve"),
    "images, not tensors": (lambda: of(data=Broken(lambda _: (object(), 0))), InputError, "collate.*collate_fn="),
    "samples of many sizes": (
        lambda: of(data=Broken(lambda row: (torch.zeros(row + 1), 0))), InputError, "RuntimeError.*collate_fn=",
    ),
    "a wrong second batch": (
        lambda: (risk := of_closure(losses_of, [(X, Y), (X, Y + 9)]))(risk.w0),
        InputError, "part 2 of 2.*IndexError.*the labels of this part",
    ),
    "a gradient of a wrong second batch": (
        lambda: (risk := of_closure(losses_of, [(X, Y), (X, Y + 9)])).gradient(risk.w0),
        InputError, "part 2 of 2.*IndexError.*the labels of this part",
    ),
    # criterion
    "the class of a criterion": (lambda: of(nn.CrossEntropyLoss), InputError, r"can be called.*CrossEntropyLoss\(\)"),
    "the value of a criterion": (lambda: of(CE(net()(X), Y)), InputError, r"can be called as criterion\(outputs"),
    "the wrong order": (lambda: of(lambda y, o: F.cross_entropy(o, y)), InputError, r"a criterion for outputs \[12, 3"),
    "a sum": (
        lambda: of(lambda o, y: F.cross_entropy(o, y, reduction="sum")), InputError,
        'got a sum, as of reduction="sum".*Use reduction="mean"',
    ),
    "three arguments": (
        lambda: of(lambda o, y, z: CE(o, y)), InputError, r"a function of \(o, y, z\). Fix other arguments.*losses=f",
    ),
    "a criterion of torch with four arguments": (
        lambda: of(nn.CTCLoss()), InputError, r"\(log_probs, targets, input_lengths, target_lengths\)",
    ),
    "a function of the model and a batch": (
        lambda: of(losses_of), InputError, r"called as criterion\(outputs, targets\).*losses=f.*from_closure\(model, f",
    ),
    "a float": (lambda: of(lambda o, y: CE(o, y).item()), InputError, NO_LOSSES.format("float")),
    "an array": (lambda: of(lambda o, y: CE(o, y).detach().numpy()), InputError, NO_LOSSES.format("ndarray")),
    "None": (lambda: of(lambda o, y: None), InputError, NO_LOSSES.format("NoneType")),
    "a detached loss": (lambda: of(lambda o, y: CE(o.detach(), y)), InputError, "does not depend on them. Select"),
    "an accuracy": (lambda: of(lambda o, y: (o.argmax(1) == y).sum()), InputError, "floating-point.*no slope"),
    "a complex loss": (lambda: of(lambda o, y: CE(o, y) * 1j), InputError, "got torch.complex64.*its real part"),
    "a complex loss of a function": (lambda: of_closure(lambda m, b: losses_of(m, b) * 1j), InputError, "real part"),
    "a name that is not defined": (lambda: of(lambda o, y: cross(o, y)), InputError, "NameError: name 'cross'"),  # noqa: F821
    "a division by zero": (lambda: of(lambda o, y: CE(o, y) * (1 / 0)), InputError, "ZeroDivisionError: division by"),
    "NaN as loss": (lambda: of(lambda o, y: CE(o, y) * math.nan), NonFiniteError, "got NaN. Check.*divides by zero"),
    "a loss of zero": (zero_loss, InputError, "positive loss at w0; got 0. Add a constant"),
    # functions of a batch
    "a mapping of losses": (lambda: of_closure(lambda m, b: {"loss": m(b[0])}), InputError, "got dict. Return"),
    "one mean": (lambda: of_closure(lambda m, b: CE(m(b[0]), b[1])), InputError, "a scalar.*pass count=f"),
    "the batch first": (lambda: of_closure(lambda b, m: losses_of(m, b)), InputError, r"f\(model, batch\).*Check"),
    "two tensors as batches": (lambda: of_closure(losses_of, (X, Y)), InputError, r"a batch \[12, 4\].*batches"),
    "dropout in train mode": (
        lambda: of_closure(with_train_mode, model=dropout()), NondeterministicLossError, "Switch them off in eval mode",
    ),
    "random inputs without a seed": (
        lambda: of_closure(lambda m, b: losses_of(m, (b[0] + torch.randn(12, 4), b[1]))),
        NondeterministicLossError, "seed=0",
    ),
    "backward in the function": (lambda: of_closure(with_backward), InputError, r"do not call backward\(\)"),
    # models
    "a model without parameters": (lambda: of(model=nn.Tanh()), InputError, "got no match. The model has: no param"),
    "a frozen model": (lambda: of(model=net().requires_grad_(False)), InputError, "require a gradient.*0.weight"),
    "the state of a model": (lambda: of(model=net().state_dict()), InputError, "Pass the model itself, not its"),
    "a model without values": (lambda: of(model=net().to("meta")), InputError, "meta device.*Load the weights first"),
    "a recorder of no values": (
        lambda: ls.TrajectoryRecorder(model := net().to("meta"), sgd(model)), InputError, "Load the weights first",
    ),
    "a ScriptModule": (lambda: of(model=torch.jit.script(net())), InputError, "got a ScriptModule. Pass the model"),
    "complex weights": (
        lambda: of(model=nn.Linear(4, 3, dtype=torch.complex64)), InputError, "stored as a real one with two parts",
    ),
    "integer weights": (
        lambda: ls.ParameterSpace.of(nn.ParameterList([nn.Parameter(torch.ones(3).int(), requires_grad=False)]), "0"),
        InputError, "floating-point.*Select other parameters",
    ),
    "inference mode": (in_inference_mode, InputError, "Leave inference mode"),
    "one sample for re-estimated statistics": (
        lambda: of(CE, (X[:1], Y[:1]), nn.Sequential(net(), nn.BatchNorm1d(3)), batch_norm="re-estimated"),
        InputError, "Expected more than 1 value.*Pass more samples",
    ),
    # selections and points
    "a glob without a match": (lambda: ls.ParameterSpace.of(net(), "encoder.*"), InputError, "no match. The model has"),
    "a buffer": (lambda: ls.ParameterSpace.of(nn.BatchNorm1d(3), "running_mean"), InputError, "The model has: weight"),
    "a layer": (lambda: ls.ParameterSpace.of(net(), nn.Linear(4, 5)), InputError, r'Pass, for example, "\*.weight"'),
    "the space of another model": (
        lambda: of(space=ls.ParameterSpace.of(nn.Linear(9, 2))), InputError, "without weight, bias. Use the model from",
    ),
    "directions of another model": (
        lambda: ls.flatness(risk := of(), risk.w0, ls.principal_modes(ROWS).directions),
        InputError, "last axis of 43.*Use weights of the same model",
    ),
    "one direction": (lambda: ls.flatness(risk := of(), risk.w0, torch.ones(43)), InputError, r"direction\[None\]"),
    "directions of numpy": (lambda: ls.flatness(risk := of(), risk.w0, np.eye(43)), InputError, "got ndarray. Pass"),
    "the model as a point": (lambda: of()(net()), InputError, "got Sequential. Convert w"),
    "a gradient at several points": (
        lambda: (risk := of()).gradient(risk.w0[None]), InputError, r"one vector \[N\].*one row of w at a time",
    ),
    "a product with several vectors": (
        lambda: (risk := of()).hessian_vector_product(risk.w0, torch.ones(2, 43)), InputError, "one row of vector",
    ),
    "factors at several points": (lambda: (risk := of()).kronecker_factors(risk.w0[None]), InputError, "one row of w"),
    "a minibatch above the data": (lambda: of().minibatches(500), InputError, "between 1 and 12; got 500. Pass"),
    "memory in words": (lambda: of(cache_bytes="1 GB"), InputError, "got '1 GB'. Pass a number of bytes"),
    # landscapes of one's own
    "a model as landscape": (lambda: ls.flatness(net(), torch.zeros(4), torch.eye(4)), InputError, "Pass Empirical"),
    "a float as landscape": (
        lambda: ls.flatness(lambda w: 1.0, torch.zeros(4), torch.eye(4)), InputError, "got float. Let it reduce",
    ),
    "a sum over all points": (
        lambda: ls.flatness(lambda w: w.square().sum() + 1, torch.zeros(4), torch.eye(4)),
        InputError, r"got shape \[\]. Let it reduce the last axis only",
    ),
    "a landscape of one point": (
        lambda: ls.flatness(lambda w: torch.eye(4) @ w, torch.zeros(4), torch.eye(4)[:1]),
        InputError, "one point a row; got RuntimeError.*row by row",
    ),
    "a ratio in words": (lambda: ls.flatness(of(), torch.zeros(43), torch.eye(43), ratio="e"), InputError, "math.e"),
    # recording
    "a list as trajectory": (lambda: ls.Trajectory.of([[1.0, 2.0]]), InputError, r"got list. Pass torch.as_tensor"),
    "steps as a list": (lambda: ls.Trajectory.of(torch.ones(2, 2), steps=[1, 2]), InputError, r"torch.tensor\(steps"),
    "a window in words": (lambda: ROWS.window("last"), InputError, "start as a step number; got 'last'. Pass an int"),
    "an optimiser of another model": (
        lambda: ls.TrajectoryRecorder(net(), sgd(net())), InputError, "holds none of them. Make the optimiser from",
    ),
    "the optimiser first": (lambda: ls.TrajectoryRecorder(sgd(net()), net()), InputError, "Pass the model itself"),
    "an optimiser without a step": (without_steps, InputError, r"got none. Call step\(\) of the optimiser"),
    "another shape midway": (lambda: recorded(reshaped), InputError, "in all steps.*in step 2. Record.*a new recorder"),
    "NaN midway": (lambda: recorded(made_nan), NonFiniteError, "of step 2.*lower the learning rate"),
    "a vector as minibatch loss": (lambda: recorded(lambda m, o, r: r.note_loss(torch.ones(3))), InputError, "mean"),
    "no minibatch loss": (lambda: recorded(lambda m, o, r: r.note_loss(None)), InputError, "NoneType. Pass the loss"),
    # memories
    "consolidate without a training": (
        lambda: ls.TaskMemory(net(), method="ldc").consolidate(CE, (X, Y)), InputError,
        r"Train inside `with memory.training",
    ),
    "consolidate inside the training": (inside_the_training, InputError, "Consolidate after the `with"),
    "a valley without edges": (
        lambda: trained(ratio=1e9).consolidate(CE, (X, Y)), InputError, r"rises to 1e\+09.*TaskMemory\(.*ratio=1.1",
    ),
    "a valley without edges for a flatness from the variance": (
        lambda: trained(ratio=1e9, method=ls.memory.LDC(flatness="variance")).consolidate(CE, (X, Y)),
        InputError, r"rises to 1e\+09 times.*ratio=1.1",
    ),
    "a risk from before the training": (
        lambda: (memory := trained(), memory.consolidate_at(of())), InputError, "Make it after the training",
    ),
    "consolidate other classes": (lambda: trained().consolidate(CE, (X, Y + 5)), InputError, "output for each class"),
    "consolidate data first": (lambda: trained().consolidate((X, Y), CE), InputError, "got CrossEntropyLoss. Pass"),
    "consolidate at a criterion": (lambda: trained().consolidate_at(CE), InputError, r"or call consolidate\(\)"),
    "the state of a model as memory": (
        lambda: trained().load_state_dict(net().state_dict()), Storage, r"Pass what memory.state_dict\(\) returned",
    ),
    "the state of another memory": (other_state, Storage, "Make the memory for the same model"),
    "a method misspelt": (lambda: ls.TaskMemory(net(), method="ewcc"), InputError, "got 'ewcc'. Check the spelling"),
    "the training of another model": (
        lambda: ls.TaskMemory(net(), method="ldc").training(sgd(net())).__enter__(), InputError,
        "Make the optimiser from all of these param",
    ),
}  # fmt: skip
FOLDER_SLIPS = {
    "a file as folder": (file_in_place_of_the_folder, Storage, "got a file. Choose another folder"),
    "a folder in a file": (opened_under_a_file, Storage, "Choose a folder you can write to"),
    "losses and a criterion": (
        lambda path: ls.Study(path / "s", net(), CE, (X, Y), losses=losses_of), InputError, "got both. Pass criterion",
    ),
    "a study without a loss": (lambda path: ls.Study(path / "s", net()), InputError, "got neither. Pass criterion"),
    "the model first": (lambda path: ls.Study(net(), path / "s", CE, (X, Y)), InputError, 'ls.Study."folder", model'),
    "a setting misspelt": (
        lambda path: ls.Study(path / "s", net(), CE, (X, Y), n_null=3), InputError, "Did you mean n_nulls",
    ),
    "one mapping as data": (
        lambda path: ls.Study(path / "s", net(), CE, {"x": X, "y": Y}), InputError, r"got one dict.*one batch is",
    ),
    "an analysis before a training": (
        lambda path: ls.Study(path / "s", net(), CE, (X, Y)).analyse(), InputError, "rain inside `with study.record",
    ),
    "labels that the model lacks": (
        lambda path: ls.Study(path / "s", model := net(), CE, (X, Y + 1)).record(sgd(model)), InputError, "labels",
    ),
    "the parameters as optimiser": (
        lambda path: ls.Study(path / "s", model := net(), CE, (X, Y)).record(model.parameters()),
        InputError, "got generator. Pass the optimizer itself",
    ),
}  # fmt: skip


def assert_says(error, kind, words):
    """The error is of the kind, has its three parts, and names what to do."""
    assert isinstance(error, LandscopeError)
    assert type(error) is kind or issubclass(type(error), kind)
    assert error.expected
    assert error.got
    assert error.hint
    assert re.search(words, str(error), re.DOTALL), str(error)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_named_with_what_to_do(slip):
    function, kind, words = SLIPS[slip]
    with pytest.raises(LandscopeError) as caught:
        function()
    assert_says(caught.value, kind, words)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("slip", FOLDER_SLIPS)
def test_a_slip_with_a_study_is_named_with_what_to_do(slip, tmp_path):
    function, kind, words = FOLDER_SLIPS[slip]
    with pytest.raises(LandscopeError) as caught:
        function(tmp_path)
    assert_says(caught.value, kind, words)


def test_there_are_forty():
    assert len(SLIPS) + len(FOLDER_SLIPS) >= 40
