"""Numbers, ranges and errors in words: no NaN, no range beyond what is possible, no sentinel in place of a sign."""

import math
from pathlib import Path

import pytest

import landscope
from landscope.claims.statements import CLAIMS
from landscope.claims.verdict import Control, Measurement, judge
from landscope.wording import (
    accepted_text,
    band_text,
    cut,
    drawn_text,
    error_text,
    first_lines,
    number_text,
    without_nan,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"exponents {NAN:.2f} over ranks 2 to 3", "exponents not measured over ranks 2 to 3"),
        (f"psi {NAN:+.2f}; [{NAN:.2f}, {NAN:.2f}]", "psi not measured; not measured"),
        (f"{NAN:.2f} % and {NAN:.3g} to {NAN:.3g}", "not measured and not measured"),
        ("a nanometre, finance, nan_to_num, 'nanmedian'", "a nanometre, finance, nan_to_num, 'nanmedian'"),
    ],
)
def test_no_text_keeps_a_nan(text, shown):
    assert without_nan(text) == shown


@pytest.mark.parametrize(
    ("band", "possible", "shown"),
    [
        ((-0.2, 0.7), (0.0, 1.0), "0 to 0.7"),
        ((0.9, 1.3), (-1.0, 1.0), "0.9 to 1"),
        ((1.2, 1.3), (0.0, 1.0), "1"),
        ((-0.4, -0.2), (0.0, 1.0), "0"),
        ((-math.inf, 0.7), (0.0, 1.0), "0 to 0.7"),
        ((NAN, NAN), (0.0, 1.0), "not measured"),
        ((0.2, math.inf), (-math.inf, math.inf), "at least 0.2"),
    ],
)
def test_a_band_stays_within_what_is_possible(band, possible, shown):
    assert band_text(cut(band, possible)) == shown


def test_what_is_accepted_names_no_edge_that_is_none():
    shown = {
        claim.key: accepted_text(claim.accepted, claim.possible, is_sign=claim.reason == "the sign") for claim in CLAIMS
    }
    assert not any("100" in text or "any number" in text or "inf" in text for text in shown.values()), shown
    assert shown["plateau"] == "below 0"
    assert shown["margin"] == shown["faster_decay"] == "above 0"
    assert shown["alignment"] == "at least 0.7"
    assert shown["diffusion_share"] == "at most 0.25"
    assert shown["psi"] == "3.2 to 4.8"


def test_draws_are_shown_beside_the_range_of_one_more():
    assert drawn_text([NAN], (NAN, NAN)) == "was not measured"
    assert drawn_text([0.3], (NAN, NAN)) == "gives 0.3 in 1 draw"
    assert drawn_text([0.3, 0.5], (0.0, 1.0)) == "gives 0.3 to 0.5 in 2 draws, and one more would give 0 to 1 (95 %)"


def test_a_number_that_is_not_there_is_said_to_be_not_measured():
    assert [number_text(value, ".2f") for value in (0.5, NAN)] == ["0.50", "not measured"]


@pytest.mark.parametrize(
    "claim", [claim for claim in CLAIMS if math.isfinite(sum(claim.possible))], ids=lambda c: c.key
)
def test_no_band_of_a_share_or_a_cosine_leaves_its_range(claim):
    wide = Control("a null", (claim.possible[0] - 0.5, claim.possible[1] + 0.7), "differ")
    judged = judge(claim, Measurement(sum(claim.accepted) / 2, controls=(wide,)))
    assert judged.measurement.controls[0].band == claim.possible
    assert f"a null gives {claim.possible[0]:g} to {claim.possible[1]:g}" in judged.why


def test_the_sentence_of_a_verdict_prints_no_nan_and_no_sentinel():
    (claim,) = (claim for claim in CLAIMS if claim.key == "plateau")
    judged = judge(claim, Measurement(NAN, note=f"exponents {NAN:.2f} over ranks 2 to 3"))
    assert judged.sentence == (
        "Not measured; the paper: a small number of leading modes. Accepted: below 0 (the sign). Exponents not "
        "measured over ranks 2 to 3."
    )


@pytest.mark.parametrize(
    ("error", "line", "text"),
    [
        (ValueError("size 3\n  in layer 2\nor 4"), "size 3", "ValueError: size 3"),
        (AssertionError(), "AssertionError", "AssertionError"),
        (RuntimeError("\n"), "RuntimeError", "RuntimeError"),
        (KeyError("labels"), "'labels'", "KeyError: 'labels'"),
    ],
)
def test_an_error_without_words_is_named_by_its_kind(error, line, text):
    assert (first_lines(error), error_text(error)) == (line, text)


def test_errors_are_put_in_words_in_one_place():
    """Elsewhere an error without words would end in an IndexError, or in a sentence with a gap."""
    root = Path(landscope.__file__).parent
    own = {path.name for path in root.rglob("*.py") if "str(error).splitlines" in path.read_text(encoding="utf-8")}
    assert own == {"wording.py"}
