"""Every number that a page quotes from docs/results is the number of the table.

A page may quote a number only with a line in ``tests/quoted_numbers.txt``, below the name of the page in brackets::

    [docs/explanation/paper.md]
    psi is 4.23 [4.06, 4.39] => reproduction.md :: Fig. 2: & in-sample :: psi

Left of the arrow stands a piece of the page, as short as is clear, on one line and without code or formulas. Right of
it stand the file in docs/results; texts that only one row of its tables contains (with " & " between them; the heading
above the table and " > " stand before the cells); and the columns, with ";" between them (a second one of the same name
has " (2)" behind it). The numbers of the piece must be numbers of these cells, in their order, rounded to the digits
that are written. A factor may follow after " :: ": 100 for a share given in per cent, -1 for a difference that is told
the other way round. Numbers that are no results, such as settings or what a paper says, have "given: ..." in place of a
source.

"[README.md # Heading]" holds one section of a page. A page with a line in the list may have no other number with a
decimal point, per cent, points or "±" in its prose.
"""

import importlib.util
import json
import re
import shlex

import pytest
from benchmarks import basin_rise, batch_normalisation, ratios, table

import quoted
from landscope.cli import app
from landscope.reproduction.figures import FIGURES

QUOTES = quoted.quotes()
FILES = sorted(quoted.RESULTS.glob("*.md"))


@pytest.mark.parametrize("page", sorted({quote.page for quote in QUOTES}))
def test_a_quoted_number_is_that_of_the_table(page):
    text, wrong = quoted.prose(page), []
    for quote in (quote for quote in QUOTES if quote.page == page):
        if quote.fragment not in text:
            wrong.append(f"{quote.fragment!r} is not on the page any more")
        if not quote.file:
            continue
        written, held = quoted.numbers(quote.fragment), quoted.values(quote)
        if not written or not quoted.in_order(written, held):
            wrong.append(f"{quote.fragment!r}: {quote.file} has {held} in {quote.row!r}, {quote.columns}")
    assert not wrong, f"{page}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("page", sorted({quote.page for quote in QUOTES}))
def test_no_number_is_without_a_source(page):
    unknown = quoted.without_source(page, QUOTES)
    assert not unknown, f"{page}: add these to {quoted.LIST.name}, see {__file__}:\n" + "\n".join(unknown)


def test_a_wrong_number_is_found(monkeypatch, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/a.md").write_text("## First\n\n| case | psi |\n| --- | --- |\n| a | 4.23 [4.06, 4.39] |\n")
    (tmp_path / "page.md").write_text("psi is 4.2 [4.1, 4.4], and gamma\nis 2.5; `1.5` is code, B is 50.")
    monkeypatch.setattr(quoted, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(quoted, "ROOT", tmp_path)
    quote = quoted.Quote("page.md", "psi is 4.2 [4.1, 4.4]", "a.md", "First > a", ("psi",))
    assert quoted.values(quote) == [4.23, 4.06, 4.39]
    assert [quoted.same(text, 4.23) for text in ("4.2", "4.23", "4", "4.3", "4.24")] == [True, True, True, False, False]
    (unknown,) = quoted.without_source("page.md", [quote])
    assert "gamma is 2.5;" in unknown
    assert quoted.values(quoted.Quote("", "", "a.md", "a", ("psi",), -1.0)) == [-4.23, -4.39, -4.06]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_result_begins_with_a_title_and_its_command(file):
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# "), f"{file.name} has no title"
    lines = lines if file.stem == "README" else lines[:10]
    commands = [words for text in re.findall(r"`([^`]+)`", " ".join(lines)) if (words := _command(text))]
    assert commands, f"{file.name} names no command in its first ten lines"
    for words in commands:
        _check(words)


def _command(text):
    """The words of a command of this repository, without settings of the environment and the output."""
    words = [word for word in shlex.split(text.partition(">")[0]) if "=" not in word.split("-")[0]]
    return words if words[:1] in (["landscope"], ["make"]) or words[:2] == ["python", "-m"] else []


def _check(words):
    if words[0] == "landscope":
        app.parse_args(words[1:], exit_on_error=False, print_error=False)
        assert words[2] in {*FIGURES, "figures", "all"}, words
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (quoted.ROOT / "Makefile").read_text(), words
    else:
        assert importlib.util.find_spec(words[2]) is not None, words


def test_results_are_text_and_numbers_of_commands_alone():
    assert {path.suffix for path in quoted.RESULTS.iterdir()} <= {".md", ".json"}


def test_the_readme_of_the_results_names_each():
    listed = set(re.findall(r"\]\(([\w-]+\.(?:md|json))\)", (quoted.RESULTS / "README.md").read_text()))
    assert listed >= {path.name for path in quoted.RESULTS.iterdir()} - {"README.md"}


def test_the_table_of_speed_is_what_the_benchmark_wrote():
    results = json.loads((quoted.RESULTS / "benchmark.json").read_text())
    assert (quoted.RESULTS / "benchmark.md").read_text() == table.markdown(results)


def test_pages_of_benchmarks_begin_as_their_writers_begin_them():
    heads = {
        "batch-normalisation": batch_normalisation.heading(batch_normalisation.SEEDS),
        "basin-rise": basin_rise.heading(),
    }
    for name, head in heads.items():
        assert (quoted.RESULTS / f"{name}.md").read_text().startswith(head)


def test_the_ratios_are_those_of_the_tables():
    assert (quoted.RESULTS / "ratios.md").read_text() == ratios.page()
