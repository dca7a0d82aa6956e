"""A finished study of a user's own training, with every stage, for the sweeps of damages and for ``--study``."""

import torch

import landscope as ls
import small_study as small

FURTHER = ("--noise", "--controls", "--dynamics")


def made(folder):
    """The study in a folder, as ``landscope analyse FOLDER --study user_study:made`` makes it."""
    return study_of(folder, small.network())


def study_of(folder, model):
    return ls.Study(
        folder, model, small.CRITERION, small.samples(), evaluate=small.evaluate, train_on=small.train_on,
        **small.SETTINGS,
    )  # fmt: skip


def finished(folder, seed=2):
    """Record and analyse a training that begins with weights of a seed; the study."""
    model = small.network()
    torch.manual_seed(seed)
    for layer in model:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    study = study_of(folder, model)
    optimizer = small.sgd(model)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer)
    study.analyse(noise=True, controls=True, dynamics=True, progress=False)
    study.report()
    return study
