"""What tells the data of a study from others: known numbers, and that nothing of the user's is read up or moved."""

import itertools
import math
import shutil
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset

import landscope as ls
import small_study as small
from landscope.errors import InputError, LandscopeWarning
from landscope.risk import reading
from landscope.risk.reading import read_to_the_end
from landscope.study.check import check_study, what_is_unknown
from landscope.study.data_identity import DataIdentity, identity_of_data
from small_run import assert_same

FEW = {"n_nulls": 0, "n_processes": 0, "flatness_modes": 12, "fit_modes": (2, 12), "spectrum_ranks": (3, 12)}


def known(data, *, collated=True):
    return identity_of_data(data, collated=collated)


class Augmented(Dataset):
    """Inputs with noise from a generator of its own; the targets stay."""

    def __init__(self, inputs, targets, seed=None):
        self.inputs, self.targets, self.random = inputs, targets, np.random.default_rng(seed)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, row):
        return self.inputs[row] + 0.3 * float(self.random.standard_normal()), self.targets[row]


class Stream(IterableDataset):
    """Batches without an end."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        while True:
            self.read += 1
            yield torch.randn(4, 6), torch.tensor([0, 1, 2, 0])


def test_the_numbers_are_those_of_16_samples_from_the_first_to_the_last():
    """By hand: 31 samples of one value give samples 0, 2, ..., 30; the drawn directions are the first of seed 0."""
    values = torch.arange(31.0)[:, None] ** 2
    draw = torch.randn(2, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    count, norm, first, second = known((values, torch.zeros(31))).parts["0"]
    few = [float(number**2) for number in range(0, 31, 2)]
    assert (count, norm) == (16, pytest.approx(math.sqrt(sum(value**2 for value in few))))
    expected = [sum(float(row[k]) * value for k, value in enumerate(few)) for row in draw]
    assert [first, second] == [pytest.approx(value) for value in expected]


def test_equal_data_in_another_form_are_the_same():
    inputs, targets = small.samples()
    same = TensorDataset(inputs, targets)
    forms = [(inputs, targets), same, DataLoader(same, 7, shuffle=True), DataLoader(same, 12, num_workers=2)]
    identities = [known(form) for form in forms]
    for one, other in itertools.combinations(identities, 2):
        assert one == other
        assert not one.differs(other)
    assert not known((inputs + 1e-6, targets)).differs(identities[0])  # a millionth: prepared again, rounded otherwise
    assert not known(list(DataLoader(same, 12))).differs(identities[0])  # batches: not comparable by some samples


def changed_label(inputs, targets):
    return inputs, targets.index_fill(0, torch.tensor([119]), 0)


OTHERS = {
    "inputs": lambda inputs, targets: (inputs + 0.01, targets),
    "a label of the last sample": changed_label,
    "another order": lambda inputs, targets: (inputs.flip(0), targets.flip(0)),
    "fewer": lambda inputs, targets: (inputs[:119], targets[:119]),
    "other sizes": lambda inputs, targets: (inputs[:, :5], targets),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("form", [tuple, lambda pair: DataLoader(TensorDataset(*pair), 7), lambda pair: [pair]])
def test_other_data_differ(form, other):
    assert known(form(small.samples())).differs(known(form(OTHERS[other](*small.samples()))))


def test_samples_that_are_mappings_and_texts_are_known():
    class Texts(Dataset):
        def __init__(self, last):
            self.texts = [{"text": f"number {row}", "label": row} for row in range(20)] + [{"text": last, "label": 0}]

        def __len__(self):
            return len(self.texts)

        def __getitem__(self, row):
            return self.texts[row]

    first = known(Texts("one"), collated=False)
    assert not first.unknown
    assert first.differs(known(Texts("two"), collated=False))


def test_random_samples_are_known_by_what_stays():
    inputs, targets = small.samples()
    first, second = (known(Augmented(inputs, targets)) for _ in range(2))
    assert (first.is_random, list(first.parts), first.count) == (True, ["1"], 120)
    assert "each reading draws other samples" in first.unknown
    assert not first.differs(second)
    assert first.differs(known(Augmented(*changed_label(inputs, targets))))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: Stream(), "a stream"),
        (lambda: DataLoader(Stream(), None), "a stream"),
        (lambda: itertools.repeat(small.samples()), "a stream"),
        (lambda: DataLoader(TensorDataset(*small.samples()), 7, sampler=SubsetRandomSampler([1, 2])), "SubsetRandom"),
        (lambda: DataLoader(TensorDataset(*small.samples()), batch_sampler=[[0, 1]]), "their list chooses"),
    ],
)
def test_what_cannot_be_known_is_said_and_nothing_is_read(data, said):
    data = data()
    found = known(data)
    assert said in found.unknown
    assert not found.is_random
    stream = getattr(data, "dataset", data)
    assert getattr(stream, "read", 0) == 0


def test_random_states_and_generators_stay_where_they_are(recorded):
    inputs, targets = small.samples()
    data = Augmented(inputs, targets, seed=3)
    generator, own = torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)
    loader = DataLoader(
        data, sampler=SubsetRandomSampler(range(120), generator=own), batch_size=12, generator=generator
    )

    def states():
        return data.random.bit_generator.state, generator.get_state().tolist(), own.get_state().tolist()

    before, torch_state = states(), torch.get_rng_state()
    known(loader)
    with pytest.warns(LandscopeWarning, match="another sample each time"):
        first, second = (ls.EmpiricalRisk(small.network(), small.CRITERION, loader) for _ in range(2))
    assert states() == before
    assert float(first(first.w0)) == float(second(second.w0))
    torch.set_rng_state(torch_state)
    drawn = torch.stack([batch[0] for batch in DataLoader(data, 12)])
    assert states() != before  # the user's own reading moves them
    assert drawn.shape == (10, 12, 6)


def test_data_without_an_end_are_refused(monkeypatch):
    monkeypatch.setattr(reading, "total_memory", lambda: 20_000)
    for data in (itertools.repeat(small.samples()), (torch.randn(4, 6) for _ in itertools.count()), itertools.count()):
        with pytest.raises(InputError, match=r"data that end.*islice"):
            ls.Study("nowhere", small.network(), small.CRITERION, data)
    stream = Stream()
    with pytest.raises(InputError, match=r"data that end.*islice"):
        ls.EmpiricalRisk(small.network(), small.CRITERION, stream)
    assert len(read_to_the_end([torch.zeros(1000)] * 2)) == 2  # 8,000 bytes


def measured(folder, data, **changes):
    study = ls.Study(folder, small.network(), small.CRITERION, data, **{**FEW, **changes})
    study.analyse(until="flatness", progress=False)
    return study


def times(study):
    return {name: study.folder.file(name).stat().st_mtime_ns for name in study.folder.names()}


def test_random_data_do_not_block_a_resume_and_other_targets_are_noticed(recorded):
    inputs, targets = small.samples()
    with pytest.warns(LandscopeWarning, match="another sample each time"):
        first = measured(recorded, Augmented(inputs, targets))
    before = times(first)
    (recorded / "profile-fits.zarr.zip").unlink()  # an analysis that was stopped
    with pytest.warns(LandscopeWarning) as said:
        again = measured(recorded, Augmented(inputs, targets))
    assert any("each reading of the data draws other samples" in str(one.message) for one in said)
    kept = times(again)
    assert {name for name in kept if kept[name] != before[name]} == {"profile-fits"}
    assert any("one draw of the data" in caveat for caveat in again._analysis.caveats)
    with pytest.warns(LandscopeWarning) as said:
        other = measured(recorded, Augmented(inputs, targets.roll(1)))
    assert any("The data or the loss are others now" in str(one.message) for one in said)
    assert times(other)["flatness"] != before["flatness"]


class Finite(IterableDataset):
    """A stream with an end, whose inputs may be noisy."""

    def __init__(self, inputs, targets, noise=0.0):
        self.batches, self.noise, self.random = (inputs, targets), noise, np.random.default_rng()

    def __iter__(self):
        for inputs, targets in zip(*(part.split(40) for part in self.batches), strict=True):
            yield inputs + self.noise * float(self.random.standard_normal()), targets


@pytest.mark.parametrize("form", [lambda stream: stream, lambda stream: DataLoader(stream, None)])
def test_a_stream_is_known_by_its_loss_and_a_random_one_is_not_measured_again(recorded, tmp_path, form):
    inputs, targets = small.samples()
    random = shutil.copytree(recorded, tmp_path / "random")
    before = times(measured(recorded, form(Finite(inputs, targets))))
    assert times(measured(recorded, form(Finite(inputs, targets)))) == before
    with pytest.warns(LandscopeWarning, match="The data or the loss are others now"):
        assert times(measured(recorded, form(Finite(inputs + 0.5, targets))))["flatness"] != before["flatness"]
    before = times(measured(random, form(Finite(inputs, targets, noise=0.3))))
    with pytest.warns(LandscopeWarning, match="each reading of the data draws other samples"):
        assert times(measured(random, form(Finite(inputs, targets, noise=0.3)))) == before


class Drawn(Augmented):
    """Noise from the global generators, as most augmentations draw it; the analysis seeds them."""

    def __getitem__(self, row):
        return self.inputs[row] + 0.3 * torch.randn(()), self.targets[row]


def test_what_the_global_generators_draw_is_the_same_each_time(recorded, monkeypatch):
    inputs, targets = small.samples()
    first, state = known(Drawn(inputs, targets)), torch.get_rng_state()
    assert (first.is_random, sorted(first.parts)) == (False, ["0", "1"])
    assert first == known(Drawn(inputs, targets))
    assert torch.equal(torch.get_rng_state(), state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The data set gives another sample")
        warnings.filterwarnings("ignore", message="The data of this study have other samples")
        before = times(measured(recorded, Drawn(inputs, targets)))
        assert times(measured(recorded, Drawn(inputs, targets))) == before
        monkeypatch.setattr(small, "CRITERION", torch.nn.CrossEntropyLoss(label_smoothing=0.1))
        with pytest.warns(LandscopeWarning, match="The data or the loss are others now"):
            assert times(measured(recorded, Drawn(inputs, targets)))["flatness"] != before["flatness"]


def test_equal_data_in_another_form_are_not_measured_again(recorded):
    inputs, targets = small.samples()
    before = times(measured(recorded, (inputs, targets)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", LandscopeWarning)
        for data in (DataLoader(TensorDataset(inputs, targets), 12, shuffle=True), iter([(inputs, targets)])):
            assert times(measured(recorded, data)) == before


def test_a_result_of_other_data_is_named_and_made_again(recorded, tmp_path):
    """The same recording and the same settings: nothing but the data tells the two studies apart."""
    inputs, targets = small.samples()
    with pytest.warns(LandscopeWarning, match="other samples than those of the recorded training"):
        other = measured(shutil.copytree(recorded, tmp_path / "other"), (inputs, targets.roll(1)))
    study = measured(recorded, (inputs, targets))
    before = small.contents(study)
    assert other.flatness.loss0 != pytest.approx(study.flatness.loss0, rel=1e-3)
    shutil.copy(other.folder.file("profiles"), study.folder.file("profiles"))
    named = {one.file: one.problem for one in check_study(recorded)}
    assert named["profiles.zarr.zip"] == "made with another loss or other data"
    for name in ("flatness", "drawn-modes", "profiles", "profile-fits"):
        shutil.copy(other.folder.file(name), study.folder.file(name))
    with pytest.warns(LandscopeWarning, match="The data or the loss are others now"):
        assert_same(small.contents(measured(recorded, (inputs, targets))), before)
    assert check_study(recorded) == []


def test_the_check_says_what_it_cannot_compare(recorded, tmp_path):
    assert what_is_unknown(recorded) == []
    model = small.network()
    study = ls.Study(tmp_path / "s", model, small.CRITERION, DataLoader(Augmented(*small.samples()), 12), **FEW)
    optimizer = small.sgd(model)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=4)
    (said,) = what_is_unknown(tmp_path / "s")
    assert said.startswith("the data: each reading draws other samples")


def test_an_identity_that_cannot_be_read_is_an_unknown_one():
    assert DataIdentity.of({"count": 3, "more": 1}) == DataIdentity.of(None) == DataIdentity()
    assert not DataIdentity().differs(known(small.samples()))
