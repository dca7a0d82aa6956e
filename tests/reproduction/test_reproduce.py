"""Several figures in one reproduction: one page, one table of claims, nothing done twice."""

import dataclasses
import json

import pytest

from landscope.claims.verdict import Claim, Measurement, judge
from landscope.errors import InputError, StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures import FIGURES
from landscope.reproduction.figures.figure import Figure, Plan, Plot, Section
from landscope.reproduction.jobs import Job
from landscope.reproduction.reproduce import reproduce

CLAIM = Claim("about_one", "Fig. 0", "The number is one.", "1", (0.5, 1.5), "a half")


def add_line(reporter, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("1\n")


@dataclasses.dataclass(frozen=True)
class Counting:
    """A figure whose number is how often its job was done."""

    key: str
    title: str

    def jobs(self, plan):
        return [Job(self.key, add_line, (plan.run_path(self.key),))]

    def sections(self, plan):
        count = len(plan.run_path(self.key).read_text().splitlines())
        plots = [Plot("Nothing.", lambda: None)]
        judgements = [judge(CLAIM, Measurement(count, (0.9, 1.1)))]
        return [Section(self.key, self.title, "", ("count",), [[f"{count}"]], judgements, {"count": count}, plots)]


def test_figures_give_one_page_one_table_and_their_times(tmp_path):
    plan = Plan(tmp_path / "all", Settings(), seeds=2)
    results = reproduce(plan, [Counting("a", "Figure a"), Counting("b", "Figure b")], QuietReporter())
    assert [section.key for section in results.sections] == ["a", "b"]
    assert [judgement.verdict for judgement in results.judgements] == ["reproduced"]  # each claim once
    assert set(results.seconds) == {"Figure a", "Figure b"}
    numbers = json.loads((plan.folder / "numbers.json").read_text())
    assert [claim["key"] for claim in numbers["claims"]] == ["about_one"]
    assert numbers["b"] == {"count": 1}
    text = (plan.folder / "claims.md").read_text()
    assert text.startswith("# Reproduction on digits\n\n`landscope reproduce all --data digits --seeds 2")
    assert "## Figure a\n\n| count |" in text
    assert "| Fig. 0 | The number is one. | 1 | 1 [0.9, 1.1] | reproduced |" in text
    page = (plan.folder / "report.html").read_text()
    assert "Figure b" in page
    assert all("1 of them on a 95 % interval" in words for words in (text, page))
    assert "Nothing." not in page  # a plot that has nothing to draw


def test_every_figure_keeps_the_protocol():
    assert all(isinstance(figure, Figure) and FIGURES[figure.key] is figure for figure in FIGURES.values())
    titles = [figure.title for figure in FIGURES.values()]
    assert len(set(titles)) == len(titles)


def test_too_few_seeds_and_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least 2 seeds"):
        reproduce(Plan(tmp_path / "r", Settings(), 1), [], QuietReporter())
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="other files"):
        reproduce(Plan(tmp_path, Settings(), 2), [], QuietReporter())
