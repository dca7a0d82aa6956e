"""Claims of other papers do not stand under the heading of the paper that is reproduced."""

import io
import re

import pytest
from rich.console import Console

from landscope.claims.papers import by_paper
from landscope.claims.statements import CLAIMS, judged
from landscope.claims.verdict import FENG_TU, Measurement
from landscope.cli.shared import claims_table
from landscope.report import render
from landscope.reproduction.figures import branches, plateau

_PLACE = re.compile(r"^(S\d|Figs?\.|Eqs?\.|Sections?|abstract|text)")
JUDGED = judged({key: Measurement(1.5) for key in ("psi", "noise_by_curvature", "batch_sharpness", "psi_D")})
PAPERS = ("Against Feng & Tu, PNAS 2021", "From other papers")


def test_a_claim_without_a_place_in_the_paper_is_of_another_paper_and_names_it():
    for claim in (*CLAIMS, *branches.CLAIMS, *plateau.CLAIMS):
        if not _PLACE.match(claim.source):
            assert claim.paper == claim.source
        elif claim.paper != FENG_TU:
            assert claim.paper in claim.source


def test_each_group_has_its_heading_and_an_empty_one_has_none():
    groups = {heading: [judgement.claim.key for judgement in group] for heading, group in by_paper(JUDGED)}
    assert groups == {PAPERS[0]: ["psi", "psi_D"], PAPERS[1]: ["noise_by_curvature", "batch_sharpness"]}
    assert [heading for heading, _ in by_paper(judged({"psi": Measurement(4.0)}))] == [PAPERS[0]]
    assert by_paper([]) == []


def _printed():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(claims_table(JUDGED))
    return console.export_text()


def _page():
    nothing = {"title": "", "about": "", "headings": [], "rows": [], "figures": [], "settings_yaml": ""}
    return render("continual.html.j2", judgements=JUDGED, **nothing).replace("&amp;", "&")


@pytest.mark.parametrize("shown", [_printed, _page])
def test_tables_keep_the_groups_apart(shown):
    text = shown()
    own, others = (text.index(heading) for heading in PAPERS)
    assert own < text.index("Fig. 2D, Eq. 8") < others < text.index("Zhang et al.")
    assert others < text.index("Andreyev")
    assert text.count("Chance: ") == 1
