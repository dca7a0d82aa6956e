"""The page of a study: contents that lead somewhere, folded reasons, and what is missing in its place."""

import fnmatch
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import landscope as ls
import small_study as small
from landscope.report.claim_groups import claim_groups, verdict_counts
from landscope.report.limits import PROCESS_LIMIT_IS, RUN_LIMIT_IS
from landscope.study import figures, page_facts
from landscope.study.saved import every_result
from landscope.study.stages import STAGES
from landscope.study.training_facts import TrainingFacts


class Page(HTMLParser):
    """Headings, links, identifiers and texts of a page."""

    def __init__(self, html):
        super().__init__()
        self.headings, self.links, self.ids, self.text, self._open = [], [], [], "", []
        self.feed(re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.headings += [tag] if re.fullmatch("h[1-6]", tag) else []
        self.links += [values["href"]] if tag == "a" else []
        self.ids += [values["id"]] if "id" in values else []

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def html(analysed):
    return analysed.report().read_text()


def test_contents_lead_to_every_section_and_headings_are_in_order(html):
    page = Page(html)
    assert page.headings == ["h1"] + ["h2"] * (len(page.headings) - 1)
    assert len(set(page.ids)) == len(page.ids)
    assert len(page.links) == len(page.headings) - 1
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_a_claim_shows_its_verdict_and_number_first_and_folds_its_reason(html, analysed):
    tables = [part.partition("</table>")[0] for part in html.split('<table class="claims">')[1:]]
    groups = claim_groups(analysed.claims)
    assert len(tables) == len(groups) == 3
    for table, (heading, judgements) in zip(tables, groups, strict=True):
        rows = re.findall(r'<tr><td><span class="verdict ([a-z-]+)">.*?</tr>', table, flags=re.DOTALL)
        assert rows == [judgement.verdict.replace(" ", "-") for judgement in judgements]
        assert table.count("<details><summary>") == len(rows)
        assert "<details open" not in table
        assert f"{heading} ({len(judgements)})" in table.replace("&amp;", "&")
    assert f"{analysed.law.in_sample.psi:.3g}" in tables[0]


def test_the_sentence_on_chance_counts_the_claims_that_the_reader_sees(html, analysed):
    counts = {name: numbers for name, *numbers in verdict_counts(analysed.claims)}
    text = Page(html).text
    shown = re.findall(r'class="verdict ([a-z-]+)"', html.partition('class="claims"')[2])
    assert {name: shown.count(name.replace(" ", "-")) for name in counts if name != "all"} == {
        name: numbers[0] for name, numbers in counts.items() if name != "all"
    }
    both = [sum(counts[name][place] for name in ("reproduced", "not reproduced")) for place in range(3)]
    assert f"Chance: {both[0]} verdicts of reproduced or not reproduced, {both[1]} of them on a 95 % interval" in text
    assert f"Among the claims with an interval ({counts['all'][1]}, " in text
    assert f"The other {both[2]} rest on numbers without an interval" in text


def test_every_null_of_the_table_is_defined_beside_it(html, analysed):
    law = Page(html.partition('<h2 id="law">')[2].partition("<h2")[0]).text
    directions = ("eigenvectors, ", "eigenvectors of the", "random directions", "continued, ", "in-sample")
    rows = [
        row.name
        for row in analysed.law.rows
        if row.name.startswith("equi") or not any(x in row.name for x in directions)
    ]
    assert set(analysed.law.definitions) == set(rows)
    for name, definition in analysed.law.definitions.items():
        assert law.count(name) >= 2
        for words in (definition.keeps, definition.destroys, definition.agreement):
            assert words in law
        assert f"{name}: keeps {definition.keeps}; destroys" in repr(analysed.law)


def test_both_exponents_of_a_window_without_end_have_a_name_and_a_sentence(html, analysed):
    text = Page(html).text
    assert PROCESS_LIMIT_IS in text
    assert RUN_LIMIT_IS in text
    assert PROCESS_LIMIT_IS in repr(analysed.law)
    assert not re.search("(ψ∞|psi_infinity)(?! of the (process|run))", text)


def test_the_facts_of_the_training_are_on_the_page(html):
    facts = Page(html.partition('<table class="facts">')[2].partition("</table>")[0]).text
    assert re.search(
        r"Optimiser\s*SGD\s*Momentum β\s*none\s*Weight decay\s*none\s*Learning rate α, schedule\s*0.1, constant\s*"
        r"Batch size B\s*12 samples\s*Steps in an epoch\s*10\s*Steps recorded\s*1 to 240, every step",
        facts,
    )


def test_the_facts_name_momentum_and_schedule():
    adam = TrainingFacts("AdamW", 1e-3, beta1=0.9, weight_decay=0.01, decoupled=True)
    assert page_facts._moments(adam) == [("Momentum β₁", "0.9"), ("Weight decay", "0.01 (decoupled from the gradient)")]
    nesterov = TrainingFacts("SGD", 0.1, momentum=0.9, nesterov=True)
    assert page_facts.optimizer_text(nesterov) == "SGD, Nesterov momentum"
    assert page_facts._moments(nesterov) == [("Momentum β", "0.9"), ("Weight decay", "none")]
    cycle = torch.tensor([0.1, 0.3, 0.1, 0.1], dtype=torch.float64)
    said = page_facts.rate_text(cycle, cycle[2:], 0.1)
    assert said.endswith("0.1 at the last, 0.1 to 0.3 between; in the window 0.1, constant")
    unknown = torch.full((2,), math.nan, dtype=torch.float64)
    assert page_facts.rate_text(unknown, unknown, math.nan).startswith("not known: record with")
    assert page_facts.rate_text(unknown, unknown, 0.2) == "0.2"


def test_nothing_that_a_person_reads_prints_a_nan_or_the_name_of_a_file(html, analysed):
    files = [part.name for stage in STAGES for part in stage.parts(analysed._analysis) if "-" in part.name]
    claims = " ".join(judgement.sentence for judgement in analysed.claims)
    for text in (Page(html).text, repr(analysed.law), repr(analysed.claims), claims):
        words = text.partition("Settings")[0]
        assert not re.search(r"(?<![\w.])[-+]?nan\b", words)
        assert not [name for name in files if re.search(rf"needs[^.;]*\b{name}\b", words)]


def test_every_table_scrolls_within_its_box_or_folds(html):
    assert html.count("<table") == html.count('<div class="scroll"><table') + html.count('<table class="facts"')


def test_the_page_names_what_was_not_measured_in_its_place(html):
    text = Page(html).text
    reason = "needs training on from the end of the window: ls.Study(..., train_on=f)"
    assert re.search(rf"Sampling; Stationarity; .*Lyapunov residual: not measured: {re.escape(reason)}", text)
    assert "continued, reshuffled, same modes; continued, shuffled-once, same modes; " in text


def test_the_page_names_the_phases_of_learning_in_their_section(analysed, tmp_path):
    folder = shutil.copytree(analysed.path, tmp_path / "without")
    study = ls.Study(folder)
    study.folder.remove("noise-phases")
    study.folder.note("not-measured", {"noise-phases": "got no losses"})
    law, _, drift = study.report().read_text().partition('<h2 id="drift">')
    assert "<b>Phases of learning</b>: not measured: got no losses" in drift.partition("<h2")[0]
    assert "got no losses" not in law.partition('<h2 id="training">')[0]


def test_the_page_of_controls_that_were_stopped_names_only_the_rows_that_are_left(analysed, tmp_path):
    folder = shutil.copytree(analysed.path, tmp_path / "stopped")
    study = ls.Study(folder)
    study.folder.remove("exponents-langevin")
    study.folder.note("timings", dict.fromkeys(("modes", "flatness", "law", "noise"), 1.0))
    text = Page(study.report().read_text()).text
    assert "Other directions" not in text
    left = "equilibrium: isotropic Langevin, Hessian eigenvectors"
    assert f"{left}: not measured: needs study.analyse(controls=True), or landscope controls FOLDER" in text


def test_the_page_of_the_law_names_the_stages_that_are_left(recorded):
    study = small.opened(recorded, n_nulls=1)
    study.analyse(progress=False)
    assert list(study.plots.exponents().data[0].y) == [row.name for row in study.law.rows]
    text = Page(study.report().read_text()).text
    assert "Memory of velocities" in text
    assert "not measured: needs study.analyse(noise=True), or landscope noise FOLDER" in text
    assert "not measured: needs study.analyse(controls=True), or landscope controls FOLDER" in text
    assert "Training: not measured: needs errors of a model: ls.Study(..., evaluate=f)" in text


def test_a_figure_with_nothing_to_draw_is_named(analysed, monkeypatch):
    nothing = figures.StudyFigure(figures.FIGURES["path_along_later_modes"].results, lambda *_: None)
    monkeypatch.setitem(figures.FIGURES, "path_along_later_modes", nothing)
    assert "D. Diffusion: not measured: the results give nothing to draw" in Page(analysed.report().read_text()).text


def test_the_facts_name_a_few_weights_and_how_many_more_there_are():
    assert page_facts._some_of(["a", "b", "c"]) == "a, b, c"
    assert page_facts._some_of(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"


def test_long_names_of_weights_leave_the_labels_of_the_facts_their_width(html):
    assert ".facts { table-layout: fixed; } .facts td { overflow-wrap: anywhere; }" in html


REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "study-files.rst").read_text()
"""The page of the reference on the files of a study."""
ONLY_OF_SOME = {
    "checkpoints/w0.zarr.zip", "second-moments/*", "trajectory/keys/*", "monitor/*", "experiment.yaml",
    "training-state.zarr.zip", "preconditioner.zarr.zip", "continued.json", "continued-ends.json",
    "continued-steps.json", "flatness-from-*.zarr.zip",
}  # fmt: skip
"""Files that a study has which goes on in its training, is stopped, or is that of a command."""


def test_the_reference_names_every_file_of_a_study_and_no_other(html, analysed):
    rows = re.split(r"\n   \* - ", REFERENCE)[1:]
    named = {file for row in rows for file in re.findall(r"``([^`]+)``", row.partition("\n     - ")[0])}
    results = {f"{name}.zarr.zip" for name in every_result()}
    there = [str(file.relative_to(analysed.path)) for file in analysed.path.rglob("*") if file.is_file()]
    unnamed = [file for file in there if not any(fnmatch.fnmatch(file, pattern) for pattern in named | results)]
    assert not unnamed, "add them to docs/reference/study-files.rst, or to landscope.study.saved"
    assert {pattern for pattern in named if not fnmatch.filter(there, pattern)} == ONLY_OF_SOME


def test_the_files_open_without_landscope_as_the_reference_says(html, analysed, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(analysed.path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", REFERENCE)
    scope = {}
    for block in blocks:
        exec(re.sub(r"^   ", "", block, flags=re.MULTILINE), scope)
    assert scope["flatness"]["width"].values.tolist() == pytest.approx(analysed.flatness.width.tolist(), nan_ok=True)
    assert torch.equal(torch.from_numpy(scope["weights"]), analysed.trajectory.weights)
