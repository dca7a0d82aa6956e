"""A monitor that writes into the folder of a study: its page shows the curves."""

import landscope as ls
import small_study as small


def test_the_page_of_a_study_shows_what_a_monitor_measured(tmp_path):
    model, optimizer = small.network(), None
    optimizer = small.sgd(model)
    study = ls.Study(tmp_path / "study", model, small.CRITERION, small.samples(), **small.SETTINGS)
    risk = ls.EmpiricalRisk(model, small.CRITERION, small.samples())
    monitor = ls.Monitor(
        model, optimizer, risk, batch_size=small.BATCH, every=40, quantities=["loss", "motion"],
        path=study.path / "monitor",
    )  # fmt: skip
    with study.record(optimizer, small.SELECT), monitor:
        small.train(model, optimizer)
    again = ls.Study(study.path, model, small.CRITERION, small.samples(), **{**small.SETTINGS, "fit_modes": (2, 20)})
    again.analyse(progress=False, until="law")  # the settings may change: there is no result of an analysis
    page = (study.path / "report.html").read_text() if again.report() else ""
    assert page.count('id="monitored"') == 1
    assert "Measured during the training, in" in page
