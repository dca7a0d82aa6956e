"""A study of a model with batch normalisation says that the training descended another loss than is measured."""

import shutil

import small_study
from landscope.study.batch_norm_caveat import batch_norm_caveat


def test_the_page_of_a_study_says_it_also_without_the_model(analysed):
    (said,) = [caveat for caveat in analysed._analysis.caveats if "normalised over each minibatch" in caveat]
    assert "1 layer); the loss, its curvature and the gradient noise are those of eval mode" in said
    assert 'batch_norm="kept"' in said
    assert said in type(analysed)(analysed.path).summary()["caveats"]


def test_a_layer_in_eval_mode_during_the_training_normalised_over_no_minibatch(recorded, tmp_path):
    study = small_study.opened(shutil.copytree(recorded, tmp_path / "frozen"))
    assert study._analysis.caveats
    study.folder.change_note("training", {"eval_modules": ["1"]})
    assert not study._analysis.caveats


def test_models_without_such_layers_and_other_settings():
    assert not batch_norm_caveat(["0.weight", "1.running_mean"], [], "kept")
    assert "2 layers" in batch_norm_caveat(["a.num_batches_tracked", "b.num_batches_tracked"], [], "kept")
    assert "averaged over all data" in batch_norm_caveat(["num_batches_tracked"], [], "re-estimated")
