"""How claims are shown: each stands once, the main ones first."""

from landscope.claims.statements import CLAIMS, judged
from landscope.claims.verdict import Measurement
from landscope.report.claim_groups import MAIN, claim_groups

FOUND = judged({claim.key: Measurement(1.0) for claim in CLAIMS})


def test_every_claim_stands_in_one_table_and_the_main_ones_come_first():
    groups = claim_groups(FOUND)
    shown = [judgement.claim.key for _, group in groups for judgement in group]
    assert sorted(shown) == sorted(claim.key for claim in CLAIMS)
    assert shown[: len(MAIN)] == list(MAIN)


def test_few_claims_stand_in_one_table():
    (only,) = claim_groups(FOUND[:9])
    assert only[0].startswith("Against")
    assert len(only[1]) == 9
    assert claim_groups([]) == []
