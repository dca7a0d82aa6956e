"""A figure of the paper over seeds and settings: runs are pooled, judged on their means, and shown on one page."""

import json

from landscope.reproduction.pooling import FIGURES, judgements_on, reproduce

from landscope.claims.statements import CONTROLS, LAW, NOISE
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.pages.reproduction_page import write_reproduction_report
from landscope.study.stages.controls import ROWS
from small_run import SMALL

LATE = {"noise_modes": 12, "basis_modes": 20, "langevin_steps": 1500}


def test_reproducing_pools_seeds_and_settings(tmp_path):
    settings = Settings.of({**SMALL, "n_nulls": 1, "flatness_modes": 60})
    pooled = reproduce(tmp_path / "r", settings, seeds=2, pairs=[(100, 0.2), (50, 0.1)], reporter=QuietReporter())
    assert [(entry.batch_size, entry.learning_rate) for entry in pooled] == [(100, 0.2), (50, 0.1)]
    summaries = [ExperimentRun.open(path).results.summary() for path in pooled[0].folders]
    assert pooled[0].values["psi"] == [summary["psi"] for summary in summaries]
    assert len(pooled[0].rows["shuffled increments"]["psi_tau"]) == 2
    table = json.loads((tmp_path / "r" / "table.json").read_text())
    low, high = table[0]["intervals"]["psi"]
    assert low < sum(pooled[0].values["psi"]) / 2 < high
    assert "| 100 | 0.2 | 2 |" in (tmp_path / "r" / "table.md").read_text()
    page = write_reproduction_report(tmp_path / "r", pooled, "fig2", "digits").read_text()
    assert "B = 100, α = 0.2" in page


def test_reproducing_a_figure_pools_rows_and_claims(tmp_path):
    settings = Settings.of({**SMALL, **LATE, "n_nulls": 1, "flatness_modes": 60})
    pooled = reproduce(tmp_path / "r", settings, seeds=2, pairs=[(100, 0.2)], reporter=QuietReporter(), figure="fig3")
    rows = json.loads((tmp_path / "r" / "table.json").read_text())[0]["exponents"]
    assert set(rows) == {"in-sample", "same modes, fresh data", "shuffled increments", *ROWS.values()}
    assert all(len(row["psi"]) == 2 for row in rows.values())
    keys = {judgement.claim.key for judgement in judgements_on(pooled[0], "fig3")}
    assert {key for _, about in FIGURES.values() for key in about} == {claim.key for claim in (*LAW, *NOISE, *CONTROLS)}
    assert {"psi_D", "psi_tau", "inverse_einstein", "psi_hessian"} <= keys
    page = write_reproduction_report(tmp_path / "r", pooled, "fig3", "digits").read_text()
    assert 'id="fig3a"' in page
    assert "Hessian eigenvectors, window" in (tmp_path / "r" / "table.md").read_text()
