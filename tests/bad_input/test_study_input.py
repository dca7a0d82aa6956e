"""Natural slips with a Study: each gives the house's error, with what to do."""

import pytest
import torch

import landscope as ls
import small_study as small
from landscope.adapters import huggingface, lightning
from landscope.errors import InputError, StorageError
from landscope.files import read_yaml, write_yaml


@pytest.fixture
def parts():
    return small.network(), small.CRITERION, small.samples()


def made(folder, *parts, **settings):
    return ls.Study(folder / "s", *parts, **settings)


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        (lambda p, model, criterion, data: made(p, None, criterion, data), "a model with its loss and data"),
        (lambda p, model, criterion, data: made(p, criterion, model, data), "a model with parameters"),
        (lambda p, model, criterion, data: made(p, "network", criterion, data), r"torch\.nn\.Module"),
        (lambda p, model, criterion, data: made(p, model, None, data), "either a criterion or losses=; got neither"),
        (
            lambda p, model, criterion, data: made(p, model, criterion, data, losses=lambda *_: None),
            "either a criterion or losses=; got both",
        ),
        (lambda p, model, criterion, data: made(p, model, criterion), "the training data; got none"),
        (lambda p, model, criterion, data: made(p, model, data, criterion), "criterion as a function; got tuple"),
        (lambda p, model, criterion, data: made(p, model, criterion, data, evaluate=0.1), "evaluate as a function"),
        (
            lambda p, model, criterion, data: made(p, model, criterion, data, loss_options={"seed": 0}),
            r"loss_options with any of count, cache_bytes; got seed.*belong to losses=f",
        ),
        (
            lambda p, model, criterion, data: made(p, model, criterion, data, loss_options=0),
            "loss_options with any of count, cache_bytes; got int",
        ),
        (lambda p, model, criterion, data: made(p, model, criterion, data, windw=(1, 50)), "Did you mean window"),
        (lambda p, model, criterion, data: made(p, model, criterion, data, window=50), "window: "),
        (lambda p, model, criterion, data: made(p, model, criterion, data, n_nulls=-1), "n_nulls: "),
        (lambda p, model, criterion, data: made(p, model, criterion, data, fresh="nothing"), "fresh: "),
    ],
)
def test_what_cannot_make_a_study(tmp_path, parts, slip, message):
    with pytest.raises(InputError, match=message):
        slip(tmp_path, *parts)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("path", [None, 123, b"runs/mine", ["runs"]])
def test_what_is_no_path_is_named(path, parts):
    for call in (
        lambda: ls.Study(path),
        lambda: ls.Study(path, *parts),
        lambda: ls.open_trajectory(path),
        lambda: ls.load(path),
    ):
        with pytest.raises(InputError, match=r"as a path; got .*a string or a pathlib\.Path"):
            call()


def test_problems_of_settings_are_said_in_our_words(tmp_path, parts):
    for settings, said in (
        ({"fresh": (5, 10)}, "got fresh needs a window beside it. Correct"),
        ({"window": (10, 5)}, r"got window: needs a first step before its last step \(not \(10, 5\)\)"),
    ):
        with pytest.raises(InputError, match=said):
            made(tmp_path, *parts, **settings)


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("train_on", lambda model: None, r"train_on\(model, record, sampling=\.\.\., .*; got a function of \(model\)"),
        ("evaluate", lambda: {"test_error": 0.1}, r"evaluate\(model\); got a function of \(\)"),
        ("evaluate", lambda model, data: {}, r"evaluate\(model\); got a function of \(model, data\)"),
        ("losses", lambda batch: batch, r"losses\(model, batch\); got a function of \(batch\)"),
        ("criterion", lambda outputs: outputs, r"criterion\(outputs, targets\); got a function of \(outputs\)"),
    ],
)
def test_functions_that_take_other_arguments(tmp_path, parts, name, function, message):
    model, criterion, data = parts
    functions = {"criterion": None if name == "losses" else criterion, "data": data, name: function}
    with pytest.raises(InputError, match=message):
        ls.Study(tmp_path / "s", model, **functions)


def test_places_that_are_no_study(tmp_path, parts):
    with pytest.raises(StorageError, match=r"no study\.yaml.*Check the path"):
        ls.Study(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=r"no study\.yaml"):
        ls.Study(tmp_path / "nowhere", n_nulls=2)
    assert not (tmp_path / "nowhere").exists()
    file = tmp_path / "weights.pt"
    file.write_text("mine")
    for arguments in ((), parts):
        with pytest.raises(StorageError, match=r"a folder at .*; got a file"):
            ls.Study(file, *arguments)
    with pytest.raises(StorageError, match=r"an empty folder or a study at .*; got other files"):
        ls.Study(tmp_path, *parts)
    (tmp_path / "run.yaml").write_text("format: 1\n")
    with pytest.raises(StorageError, match="a run of an earlier version"):
        ls.Study(tmp_path, *parts)
    with pytest.raises(StorageError, match="a run of an earlier version"):
        ls.Study(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("format: 9\nsettings: {}\n", "format 9"),
        ("format: 3\nsettings: {x: 1}\n", "got x: unknown"),
        ("{", "damaged"),
    ],
)
def test_damaged_settings_are_named(tmp_path, content, message):
    file = tmp_path / "study.yaml"
    file.write_text(content)
    if content != "{":
        write_yaml(file, read_yaml(file, "settings", has_crc=False))
    with pytest.raises(StorageError, match=message):
        ls.Study(tmp_path)


def test_before_there_is_a_recording(tmp_path, parts):
    study = made(tmp_path, *parts)
    for call in (lambda: study.analyse(progress=False), lambda: study.trajectory, lambda: study.window, study.risk):
        with pytest.raises(InputError, match=r"a recording in .*study\.record\(optimizer\)"):
            call()
    with pytest.raises(InputError, match="one of modes, flatness, law, noise, controls, dynamics; got until='laws'"):
        study.analyse(until="laws")


def test_workers_that_there_cannot_be(tmp_path, parts):
    study = made(tmp_path, *parts)
    for executor in ("slurm", "processes:4", "ray auto"):
        with pytest.raises(InputError, match="an executor: processes, ray, ray:ADDRESS, dask or dask:ADDRESS"):
            study.analyse(executor=executor)
    with pytest.raises(InputError, match=r'executor of type str; got int.*executor="ray:auto"'):
        study.analyse(executor=4)


def test_before_there_are_results(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=40)
    for read in (lambda: study.modes, lambda: study.flatness, lambda: study.law, study.summary, study.report):
        with pytest.raises(StorageError, match=r"the result .* Run the analysis"):
            read()
    assert study.claims == []
    with pytest.raises(InputError, match="variance_against_flatness"):
        study.plots.variance_against_flatness()


def test_recording_twice_and_with_strangers(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with pytest.raises(InputError, match="an optimiser of"):
        study.record(small.sgd(small.network()))
    with pytest.raises(InputError, match="no match"):
        study.record(optimizer, "nothing.*")
    with pytest.raises(InputError, match="every"):
        study.record(optimizer, every=0)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=30)
    with pytest.raises(StorageError, match=r"one that holds a recording.*first_step="):
        study.record(optimizer, small.SELECT)
    with pytest.raises(StorageError, match=r"a trajectory of 3.weight"):
        study.record(optimizer, "3.weight", first_step=31)
    with pytest.raises(InputError, match=r"a model with its loss|opened by its folder alone"):
        ls.Study(tmp_path / "s").record(optimizer)


def test_training_too_short_to_analyse(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=12)
    with pytest.raises(InputError, match=r"at least 21 recorded steps.*Train longer"):
        study.analyse(progress=False)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (0.1, "got float"),
        ({"accuracy": 0.9}, "any of train_loss.*got accuracy"),
        ({"test_error": "0.1"}, "test_error as a number; got a value of type str"),
        ({"test_error": None}, "test_error as a number; got a value of type NoneType"),
        ({"test_error": torch.zeros(3)}, r"test_error as a number; got a value \[3\] of float32"),
    ],
)
def test_an_evaluation_of_another_form_ends_the_analysis_before_its_work(tmp_path, answer, message):
    study = small.record(tmp_path / "s", n_nulls=0)
    again = small.opened(study.path, evaluate=lambda model: answer)
    with pytest.raises(InputError, match=message):
        again.analyse(progress=False)
    assert not again.folder.has("modes")
    again.analyse(progress=False, until="modes")


def test_another_model_for_the_same_folder(tmp_path):
    path = small.record(tmp_path / "s", n_nulls=0).path
    other = torch.nn.Sequential(torch.nn.Linear(6, 11), torch.nn.Linear(11, 3))
    study = ls.Study(path, other, small.CRITERION, small.samples())
    with pytest.raises(StorageError, match=r"a checkpoint of this model at .*Unexpected key"):
        study.analyse(progress=False)


def test_statistics_cannot_be_re_estimated_with_a_closure(tmp_path):
    path = small.record(tmp_path / "s").path
    study = ls.Study(
        path, small.network(), losses=lambda model, batch: model(batch[0]).sum(1), data=small.samples(),
        batch_norm="re-estimated",
    )  # fmt: skip
    with pytest.raises(InputError, match="batch_norm='kept' with losses="):
        study.analyse(progress=False)


def test_what_is_no_step_and_no_study(tmp_path, parts):
    with pytest.raises(InputError, match="the step of a checkpoint"):
        made(tmp_path, *parts).use_checkpoints({"last": parts[0].state_dict()})
    for module in (huggingface, lightning):
        with pytest.raises(InputError, match="the study"):
            module.StudyCallback(parts[0])


@pytest.mark.parametrize(("found", "words"), [
    ({"test_error": 13.75}, "a share between 0 and 1; got 13.75. Divide per cent by 100"),
    ({"test_error": float("nan")}, "test_error as a number; got NaN. Leave out"),
])  # fmt: skip
def test_evaluate_gives_shares_and_no_nan(tmp_path, parts, found, words):
    study = ls.Study(tmp_path / "s", parts[0], small.CRITERION, small.samples(), evaluate=lambda model: found)
    with pytest.raises(InputError, match=words):
        study._subject.measure(parts[0])


def test_minibatches_larger_than_the_data(tmp_path, parts):
    model, criterion, (inputs, targets) = parts
    sets = torch.utils.data.TensorDataset(inputs, targets)
    for data in ((inputs, targets), sets, torch.utils.data.DataLoader(sets, 12)):
        with pytest.raises(InputError, match=r"at most 120.*got batch_size=121\. .*pass batch_size=120"):
            made(tmp_path, model, criterion, data, batch_size=121)
    assert not (tmp_path / "s").exists()
    made(tmp_path, model, criterion, (inputs, targets), batch_size=120)


def test_one_batch_in_place_of_batches(tmp_path, parts):
    model, criterion, (inputs, targets) = parts
    options = {"criterion": criterion}, {"losses": lambda model, batch: model(batch[0]).sum(1)}
    for given in options:
        for data in ((inputs, {"labels": targets}), ([inputs, inputs], targets)):
            with pytest.raises(InputError, match=r"got one batch: a .*Pass data=\[\(inputs, targets\)\]"):
                ls.Study(tmp_path / "s", model, data=data, **given)
    with pytest.raises(InputError, match="one batch: a Tensor and a dict"):
        ls.EmpiricalRisk(model, criterion, (inputs, {"labels": targets}))
