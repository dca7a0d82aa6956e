"""The edge of stability of a study: of all trained weights, and what another optimiser leaves open."""

import math

import torch

import landscope as ls
import small_study as small
from landscope.landscape import batch_sharpness
from landscope.noise.edge_of_stability import largest_curvature
from landscope.risk.training_minibatches import TrainingMinibatches
from landscope.study import saved


def test_the_edge_is_of_the_whole_model_and_of_the_recorded_directions(analysed):
    analysis = analysed._analysis
    found = analysis.load(saved.EDGE)
    assert found.bound == found.noise_bound == 2 / 0.1
    # The network has batch normalisation: its training takes the statistics of each minibatch.
    model = analysis.model_at(analysis.windows.step)
    whole = TrainingMinibatches(model, small.CRITERION, small.samples(), small.BATCH, seed=0)
    assert whole.has_batch_norm
    assert len(whole.w0) == ls.ParameterSpace.of(small.network()).dim
    rough = batch_sharpness(whole, whole.w0)
    assert math.isclose(found.batch_sharpness, rough.value, rel_tol=1e-5)  # float32, in another order
    assert math.isclose(found.sharpness, largest_curvature(whole, whole.w0, seed=0), rel_tol=2e-2)  # to one per cent
    basis = analysis.load(saved.CURVATURE)
    torch.testing.assert_close(found.pull, 0.1 * basis.values, rtol=1e-12, atol=0)
    assert bool(torch.isfinite(found.share).all())
    verdicts = {judgement.claim.key: judgement.verdict for judgement in analysed.claims}
    assert {"batch_sharpness", "no_oscillation"} <= set(verdicts)


def test_adam_has_no_bound_and_says_so(tmp_path):
    model = small.network()
    study = ls.Study(tmp_path, model, small.CRITERION, small.samples(), **small.SETTINGS)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer)
    part = next(part for part in _parts(study) if part.name == saved.EDGE.name)
    for needed in _parts(study):
        if needed.name in ("basis-curvature",):
            study.folder.save(needed.result.name, needed.make(study._analysis))
    study.folder.save(saved.MODES.name, study.modes if study.folder.has("modes") else ls.principal_modes(study.window))
    found = part.make(study._analysis)
    assert math.isnan(found.bound)
    assert bool(found.pull.isnan().all())
    assert bool(torch.isfinite(found.share).all())
    assert found.batch_sharpness > 0


def _parts(study):
    from landscope.study.stages.controls import CONTROLS
    from landscope.study.stages.dynamics import DYNAMICS
    from landscope.study.stages.law import LAW

    return (*LAW.parts(study._analysis), *CONTROLS.parts(study._analysis), *DYNAMICS.parts(study._analysis))
