"""Verdicts on measurements, by claim."""

from landscope.claims.statements import CLAIMS, judged


def verdicts(measured, claims=CLAIMS):
    return {judgement.claim.key: judgement.verdict for judgement in judged(measured, claims)}
