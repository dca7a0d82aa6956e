"""The page of a study: contents that lead somewhere, folded reasons, and what is missing in its place."""

import re
import shutil
from html.parser import HTMLParser

import pytest

import landscope as ls
import small_study as small
from landscope.claims.papers import by_paper
from landscope.study import figures, page


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
    groups = by_paper(analysed.claims)
    assert len(tables) == len(groups) == 2
    for table, (heading, judgements) in zip(tables, groups, strict=True):
        rows = re.findall(r'<tr><td><span class="verdict ([a-z-]+)">.*?</tr>', table, flags=re.DOTALL)
        assert rows == [judgement.verdict.replace(" ", "-") for judgement in judgements]
        assert table.count("<details><summary>") == len(rows)
        assert "<details open" not in table
        assert heading in table.replace("&amp;", "&")
    assert f"{analysed.law.in_sample.psi:.3g}" in tables[0]


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
    assert page._some_of(["a", "b", "c"]) == "a, b, c"
    assert page._some_of(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"


def test_long_names_of_weights_leave_the_labels_of_the_facts_their_width(html):
    assert ".facts { table-layout: fixed; } .facts td { overflow-wrap: anywhere; }" in html
