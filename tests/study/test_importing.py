"""Recordings and checkpoints that exist already become studies."""

import math
import re

import pytest
import torch
from safetensors.torch import save_file

import landscope as ls
import small_study as small
from landscope.errors import InputError, StorageError
from landscope.study.importing import what_rows_offer


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A training without a study: a trajectory on disk, state dicts, and the model at its end."""
    path, model, states = tmp_path_factory.mktemp("elsewhere") / "trajectory", small.network(), {}
    optimizer = small.sgd(model)

    def keep(step):
        if step % 4 == 0:
            states[step] = {name: value.clone() for name, value in model.state_dict().items()}

    with ls.TrajectoryRecorder(model, optimizer, small.SELECT, path=path, every=2):
        small.train(model, optimizer, after_step=keep)
    return path, model, states


def begin(folder, model=None):
    return ls.Study(folder, model or small.network(), small.CRITERION, small.samples(), **small.SETTINGS)


def test_a_trajectory_is_analysed_with_the_model_of_its_last_row(elsewhere, tmp_path):
    path, model, _ = elsewhere
    study = begin(tmp_path / "s", model)
    study.use_trajectory(path)
    assert torch.equal(study.trajectory.weights, ls.open_trajectory(path).weights)
    assert study.saved_steps == [240]
    assert study.window.steps[[0, -1]].tolist() == [182, 240]
    study.analyse(progress=False)
    inputs, labels = small.samples()
    model.eval()
    assert study.summary()["loss_at_w0"] == pytest.approx(small.CRITERION(model(inputs), labels).item(), rel=1e-6)
    assert study._analysis.facts.every == 2
    with pytest.raises(StorageError, match="a study without results"):
        study.use_trajectory(path)


def test_a_trajectory_in_memory_and_checkpoints_beside_it(elsewhere, tmp_path):
    path, model, states = elsewhere
    study = begin(tmp_path / "s", model)
    study.use_trajectory(ls.open_trajectory(path))
    study.use_checkpoints({step: states[step] for step in (80, 160)})
    assert study.saved_steps == [80, 160, 240]
    assert len(study.trajectory) == 120
    with pytest.raises(StorageError, match="one that holds a recording"):
        study.use_trajectory(path)


def test_another_model_at_a_step_that_exists_is_refused(elsewhere, tmp_path):
    path, model, states = elsewhere
    study = begin(tmp_path / "s", model)
    study.use_trajectory(path)
    study.use_checkpoints({80: states[80], 240: states[240]})
    other = {**states[240], "3.bias": states[240]["3.bias"] + 1}
    with pytest.raises(StorageError, match=r"the study has at step 240; got another one: 3\.bias differs"):
        study.use_checkpoints({120: states[120], 240: other})
    with pytest.raises(StorageError, match="the weights that were recorded at step 160; got others"):
        study.use_checkpoints({160: states[80]})
    assert study.saved_steps == [80, 240]


@pytest.mark.parametrize("at", ["models", "rows"])
def test_an_import_that_was_killed_is_made_again(elsewhere, tmp_path, monkeypatch, at):
    path, model, states = elsewhere

    def die(*_, **__):
        raise KeyboardInterrupt

    for study, take in (
        (begin(tmp_path / "rows", model), lambda study: study.use_trajectory(path)),
        (begin(tmp_path / "models"), lambda study: study.use_checkpoints(states, small.SELECT)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr("landscope.study.importing." + {"models": "_write_rows", "rows": "_note_distance"}[at], die)
            with pytest.raises(KeyboardInterrupt):
                take(study)
        take(study)
        assert study.trajectory.steps[-1] == study.saved_steps[-1] == 240
        study.analyse(progress=False, until="flatness")


def test_a_trajectory_of_other_weights_is_refused(elsewhere, tmp_path):
    path = elsewhere[0]
    with pytest.raises(InputError, match="the model as it was at the last row"):
        begin(tmp_path / "s").use_trajectory(path)
    nameless = ls.Trajectory.of(ls.open_trajectory(path).weights)
    with pytest.raises(InputError, match="names its parameters"):
        begin(tmp_path / "t").use_trajectory(nameless)


@pytest.mark.parametrize("form", ["state dict", "torch", "safetensors", "model"])
def test_checkpoints_become_rows(elsewhere, tmp_path, form):
    _, _, states = elsewhere
    sources = {}
    for step, state in states.items():
        file = tmp_path / f"{step}.{form}"
        if form == "torch":
            torch.save(state, file)
        elif form == "safetensors":
            save_file(state, file)
        whole = small.network()
        whole.load_state_dict(state)
        sources[step] = {"state dict": state, "model": whole}.get(form, str(file))
    study = begin(tmp_path / "s")
    study.use_checkpoints(sources, small.SELECT)
    assert study.trajectory.steps.tolist() == list(range(4, 241, 4)) == study.saved_steps
    assert torch.equal(study.trajectory.row(9), states[40][small.SELECT].flatten())
    assert study._analysis.facts.every == 4
    study.analyse(progress=False)
    assert len(study.window) == 21
    spacing, batch_norm = study.summary()["caveats"]
    assert spacing == "the rows of the window are 4 steps apart: D and tau are those of changes over 4 steps"
    assert batch_norm.startswith("the training normalised over each minibatch")
    assert torch.equal(study.risk(step=40).w0, states[40][small.SELECT].flatten())


def broken(tmp_path):
    file = tmp_path / "broken.pt"
    file.write_bytes(b"no state dict")
    return file


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (lambda _: torch.nn.Linear(2, 2).state_dict(), InputError, "Missing key"),
        (lambda _: 7, InputError, "a state dict, or the path of one, for step 8; got int"),
        (broken, StorageError, "a state dict in"),
        (lambda path: path / "nowhere.pt", StorageError, "FileNotFoundError"),
    ],
)
def test_wrong_checkpoints_are_refused_and_leave_nothing(elsewhere, tmp_path, source, kind, message):
    study = begin(tmp_path / "s")
    with pytest.raises(kind, match=message):
        study.use_checkpoints({4: elsewhere[2][4], 8: source(tmp_path)})
    assert study.saved_steps == []
    with pytest.raises(InputError, match="at least one checkpoint"):
        study.use_checkpoints({})


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (range(1, 31), "Velocities, D and tau too"),
        (range(0, 3000, 100), "D, tau and velocities are those of changes over 100 steps"),
        ([number**2 for number in range(30)], "Not from these: velocities, D, tau"),
        ([7], "Too few for modes"),
    ],
)
def test_what_checkpoints_offer_depends_on_their_distances(steps, words):
    assert words in what_rows_offer(torch.tensor(list(steps)))[-1]


def test_checkpoints_far_apart_give_variances_and_flatness_alone(elsewhere, tmp_path):
    """Every step for a while, then every hundredth: psi is measured, what needs velocities says why it is not."""
    states = elsewhere[2]
    study = begin(tmp_path / "s")
    steps = [number**2 for number in range(1, 61)]
    study.use_checkpoints([states[4 * number] for number in range(1, 61)], small.SELECT, steps=steps)
    study.analyse(noise=True, progress=False)
    law = ls.load(study.path / "exponents-in-sample.zarr.zip")
    assert math.isfinite(law.psi)
    assert math.isnan(law.psi_D)
    for name in ("exponents-shuffled-1", "noise-velocity"):
        assert re.search("rows at even|rows at equal", study.not_measured[name]), study.not_measured
    assert any("D and tau are not measured" in caveat for caveat in study.summary()["caveats"])
    assert study.report().exists()
