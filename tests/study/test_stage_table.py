"""What cannot be made is said when a study is made, in the words of what to add."""

import contextlib

import torch
from torch import nn

import landscope as ls
import small_study as small


class Notes:
    """A reporter that keeps its notes."""

    def __init__(self):
        self.said = []

    @contextlib.contextmanager
    def stage(self, title):
        yield lambda done, total: None

    def note(self, text):
        self.said.append(text)

    def errors(self, title, tasks):
        raise NotImplementedError


def reasons(study):
    return {outlook.stage: " | ".join(outlook.sentences) for outlook in study.stages}


def test_a_new_study_says_what_to_add(tmp_path):
    model = small.network()
    study = ls.Study(tmp_path / "s", model, small.CRITERION, small.samples())
    said = reasons(study)
    assert said["modes"] == said["flatness"] == ""
    assert "ls.Study(..., train_on=f)" in said["dynamics"]
    assert "ls.Study(..., batch_size=50)" in said["noise"]
    assert "ls.Study(..., evaluate=f)" in said["law"]
    assert "dynamics" in repr(study.stages)
    full = ls.Study(
        tmp_path / "full", model, small.CRITERION, small.samples(), evaluate=small.evaluate, train_on=small.train_on,
        batch_size=12, steps_per_epoch=10,
    )  # fmt: skip
    before = torch.random.get_rng_state()
    assert set(reasons(full).values()) == {""}  # evaluate also gives the losses during the training
    assert "dynamics" in repr(full.stages)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_losses_without_samples_are_foreseen(tmp_path):
    def added(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum") * batch[0][0].norm(), len(
            batch[1]
        )

    def of(losses):
        study = ls.Study(
            tmp_path / losses.__name__, small.network(), losses=losses, data=[small.samples()], batch_size=12
        )
        return reasons(study)["noise"]

    def each(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    assert "needs one loss for each sample; got" in of(added)
    assert "one loss for each sample" not in of(each)


def test_the_optimiser_of_a_recording_is_foreseen_and_the_analysis_begins_with_it(tmp_path):
    study, model, _ = small.begin(tmp_path / "s", n_nulls=0)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=60)
    said = reasons(study)
    assert "SGD, Adam or AdamW" in said["law"]
    assert "the training has RMSprop" in said["controls"]
    notes = Notes()
    study.analyse(until="modes", progress=notes)
    assert not [note for note in notes.said if "cannot" in note]
    notes = Notes()
    study._subject.losses, study._subject.evaluate = None, None
    study.analyse(until="law", progress=notes)
    first = next(place for place, note in enumerate(notes.said) if "done" in note)
    assert any(note.startswith("law: ") and "RMSprop" in note for note in notes.said[:first])
    assert "RMSprop" in study.not_measured["window-limit"]


def test_what_is_foreseen_is_what_is_not_measured(analysed):
    """Every result of which a reason was known is one that was not made, and has the same reason."""
    foreseen = {name: reason for row in analysed.stages for reason, names in row.missing.items() for name in names}
    missed = analysed.not_measured
    assert foreseen
    assert {name for name in foreseen if name not in missed} == set()
    assert all("train_on" in missed[name] for name, reason in foreseen.items() if "train_on" in reason)
