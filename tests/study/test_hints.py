"""A hint that is followed works: every command that the package names is parsed, and every call is one that exists."""

import ast
import functools
import inspect
import re
from pathlib import Path

import pytest
from cyclopts import CycloptsError

import landscope as ls
import small_study as small
from landscope.cli import app
from landscope.errors import InputError
from landscope.study.remedies import remedies_of
from landscope.study.result_words import makes_stage, needed
from landscope.study.settings import StudySettings
from landscope.study.stages import STAGES

SOURCES = sorted(Path(ls.__file__).parent.rglob("*.py"))
OF_STUDIES = {"analyse", "modes", "flatness", "law", "noise", "controls", "dynamics"}
"""Commands that need the function that makes a study, unless it is one of landscope run."""
PLACE = "FOLDER"


def _texts():
    """Every text of the package, with a folder in place of what is filled in."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else PLACE for part in node.values]
                yield file.name, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield file.name, " ".join(node.value.split())


@functools.cache
def texts():
    return list(_texts())


def commands_in(text):
    """The words of each command with its arguments, as far as they are arguments and not prose."""
    argument = r" (?:FOLDER|\"[^\"]*\"|--(?:data|network) [\w-]+|--[\w-]+|\w+:\w+|\S+/\S+|\d[\d,.]*)(?![\w(])"
    for found in re.finditer(rf"\blandscope ([-\w]+)((?:{argument})*)", text):
        words = [found[1], *found[2].split()]
        if words[0] in app and len(words) > 1:
            yield [word.rstrip(".,;:)'") for word in words]


def check_command(words):
    """Parse a command as the command line does, without a call of it."""
    command, bound = app.parse_args(words, exit_on_error=False, print_error=False)[:2]
    assert callable(command)
    assert bound.arguments, words


def check_calls(text):
    """Names and arguments of calls of a study; how many there are."""
    count = 0
    for name, inside in re.findall(r"(?:study|ls)\.(\w+)\(([^()]*(?:\([^()]*\))?[^()]*)\)", text):
        owner = ls.Study if hasattr(ls.Study, name) else ls
        assert hasattr(owner, name), (name, text)
        function = getattr(owner, name)
        known = set(inspect.signature(function).parameters)
        known |= set(StudySettings.model_fields) if function is ls.Study else set()
        takes_any = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(function).parameters.values())
        for keyword in re.findall(r"(?:^|[(,] ?)(\w+)=", re.sub(r"\([^()]*\)", "", inside)):
            assert keyword in known or (takes_any and function is not ls.Study), (name, keyword, text)
        count += 1
    return count


def test_every_command_of_every_text_is_parsed():
    found = [(file, words) for file, text in texts() for words in commands_in(text)]
    assert len({words[0] for _, words in found}) > 10
    for file, words in found:
        try:
            check_command(words)
        except Exception as error:
            raise AssertionError(f"{file}: landscope {' '.join(words)}") from error


def test_every_call_of_every_text_exists():
    assert sum(check_calls(text) for _, text in texts() if "study." in text or "ls.Study(" in text) > 40


def test_wrong_hints_would_be_found():
    assert list(commands_in("Give landscope analyse FOLDER --noisy, or landscope check lists them.")) == [
        ["analyse", "FOLDER", "--noisy"]
    ]
    with pytest.raises(CycloptsError):
        check_command(["analyse", "FOLDER", "--noisy"])
    for text in ("study.analyse(law=True)", "study.analyze()", "ls.Study(..., n_nuls=3)"):
        with pytest.raises(AssertionError):
            check_calls(text)
    assert check_calls("study.analyse(noise=True), or ls.Study(..., fresh=(first, last))") == 2


@pytest.mark.parametrize("stage", [stage.name for stage in STAGES])
def test_the_hint_of_a_stage_makes_it(stage):
    for is_run in (True, False):
        text = makes_stage(stage, is_run=is_run)
        (words,) = commands_in(text)
        check_command(words)
        assert check_calls(text) == 1
        assert ("--study" in words) is not is_run


def commands_for(study):
    """Every command that the folder of a study names: on its page, in its reasons, in its errors, and in the check."""
    names = [part.name for stage in STAGES for part in stage.parts(study._analysis)]
    said = [needed(name, is_run=False) for name in names]
    said += [*study.not_measured.values(), study.report().read_text(), study.folder._made_again()]
    said += [remedies_of(study.path).again, repr(study.stages)]
    said += [judgement.sentence for judgement in study.claims]
    return [words for text in said for words in commands_in(text.replace(str(study.path), PLACE))]


def test_every_command_for_a_study_of_a_users_model_names_the_function_that_makes_it(recorded):
    study = small.opened(recorded, n_nulls=0, n_processes=0, flatness_modes=12, fit_modes=(2, 12))
    study.analyse(progress=False)
    page = study.report().read_text()
    assert check_calls(re.sub(r"<[^>]+>", "", page[page.index("<body") :])) > 3
    found = commands_for(study)
    assert len(found) > 10
    for words in found:
        check_command(words)
        assert words[0] not in OF_STUDIES or "--study" in words, words


def test_the_law_of_a_study_without_a_recording_says_that_nothing_was_recorded(tmp_path):
    study = ls.Study(tmp_path / "s", small.network(), small.CRITERION, small.samples())
    with pytest.raises(InputError, match=r"Nothing was recorded: train inside `with study\.record\(optimizer\):`"):
        _ = study.law
