"""What a release needs and can be known without building one; ``make release-check`` builds and installs it."""

import re
import sys
import zipfile

import pytest
import yaml
from rich.console import Console
from tools.distributions import Distributions
from tools.project_files import ROOT, changelog_faults, citation_faults, project, version, version_faults
from tools.release_check import CheckList
from tools.steps import StepFailedError, StepSkippedError

import landscope as ls

SOURCES = sorted((ROOT / "src/landscope").rglob("*.py"))
EXTRAS = project()["optional-dependencies"]
DISTRIBUTIONS = {
    "google_crc32c": "google-crc32c", "PIL": "datasets", "sklearn": "scikit-learn", "mlflow": "mlflow-skinny",
    "yaml": "pyyaml",
}  # fmt: skip
IMPORTS = re.compile(
    r"""^\s*(?:import (\w+)(?:[.\w]*| as \w+)$|from (\w+)[.\w]* import )|import_module\("(\w+)""", re.MULTILINE
)
NAMED_WHERE_MISSING = {"safetensors", "cloudpickle"}  # the error says what to install


def names_of(requirements):
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}


def imported(source):
    return {name for names in IMPORTS.findall(source.read_text(encoding="utf-8")) for name in names if name}


def test_the_files_name_one_version():
    assert version_faults() == []
    assert version() == ls.__version__


def test_type_checkers_are_told_that_the_package_is_typed():
    assert (ROOT / "src/landscope/py.typed").is_file()


def test_templates_that_are_named_are_in_the_package():
    named = {name for source in SOURCES for name in re.findall(r"[\w.-]+\.j2", source.read_text(encoding="utf-8"))}
    there = {path.name for path in (ROOT / "src/landscope/templates").iterdir()}
    extended = {name for file in there for name in re.findall(r'"([\w.-]+\.j2)"', template(file))}
    assert named | extended == there


def template(name):
    return (ROOT / "src/landscope/templates" / name).read_text(encoding="utf-8")


def test_extras_that_are_named_exist():
    places = [*SOURCES, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {
        name
        for place in places
        for group in re.findall(r"(?:landscope|[\"' ]\.)\[([\w,-]+)\]", place.read_text(encoding="utf-8"))
        for name in group.split(",")
    }
    sinks = {"tensorboard", "wandb", "trackio", "mlflow"}  # named by the choice of the user
    assert {"data", "huggingface", "lightning"} <= named
    assert named | sinks <= EXTRAS.keys()


def test_every_package_that_is_imported_is_a_dependency():
    declared = names_of(project()["dependencies"]).union(*map(names_of, EXTRAS.values()))
    packages = {name for source in SOURCES for name in imported(source)} - {*sys.stdlib_module_names, "landscope"}
    missing = {name for name in packages if DISTRIBUTIONS.get(name, name) not in declared}
    assert missing <= NAMED_WHERE_MISSING


def test_versions_are_pinned_of_dependencies_alone():
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert pinned <= names_of(project()["dependencies"]).union(*map(names_of, EXTRAS.values()))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# Changelog\n", "Expected a section"),
        ("## Unreleased\n", "Expected a group"),
        ("## Unreleased\n### Added\n", "lists nothing"),
        ("## Unreleased\n### New\n- x\n", "Expected one of Added"),
        ("## Unreleased\n### Added\n- x\n### Added\n- y\n", "stands twice"),
        ("## 0.1.0\n### Added\n- x\n", "Expected '## Unreleased' or"),
        ("## 0.1.0 - 2026-13-01\n### Added\n- x\n", "Expected '## Unreleased' or"),
        ("## 0.1.0 - 2026-01-01\n### Added\n- x\n## Unreleased\n### Added\n- x\n", "below a release"),
        ("## 0.9.0 - 2026-01-01\n### Added\n- x\n## 0.10.0 - 2026-01-02\n### Added\n- x\n", "newest release first"),
    ],
)  # fmt: skip
def test_a_malformed_change_log_is_named(text, fault):
    assert any(fault in found for found in changelog_faults(text))


def test_a_change_log_with_releases_is_taken():
    group = "### Added\n- x\n"
    text = f"## Unreleased\n{group}## 0.10.0 - 2026-02-01\n{group}## 0.9.0 - 2026-01-01\n{group}"
    assert changelog_faults(text) == []


def test_a_citation_of_another_version_is_named():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert citation_faults(text, version()) == []
    assert "got 0.1.0" in citation_faults(text, "0.2.0")[0]
    assert "Expected authors; got none" in "".join(citation_faults(text.replace("authors:", "writers:", 1), version()))


def test_forms_for_issues_are_as_github_reads_them():
    for form in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")):
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        if form.name == "config.yml":
            assert content.keys() <= {"blank_issues_enabled", "contact_links"}
            continue
        assert {"name", "description", "body"} <= content.keys()
        fields = [field for field in content["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields) > 0
        assert all(field["attributes"]["label"] for field in fields)


def test_the_oldest_python_is_the_one_that_the_classifiers_name_first():
    classified = [c.rpartition(" ")[2] for c in project()["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert f">={classified[0]}" == project()["requires-python"]


def test_the_check_list_goes_on_after_a_failure():
    console = Console(record=True, width=100)
    checks = CheckList(console)

    def failing():
        raise StepFailedError("2 files differ", "Commit them.")

    def skipped():
        raise StepSkippedError("It needs the wheel.")

    for name, step in {"first": failing, "second": skipped, "third": lambda: "0.1.0"}.items():
        checks.check(name, step)
    text = re.sub(r" \(\d+\.\d s\)", "", console.export_text())
    assert [line.strip() for line in text.splitlines()] == [
        "failed  first", "2 files differ", "To do: Commit them.", "skipped second", "It needs the wheel.",
        "ok      third", "0.1.0",
    ]  # fmt: skip
    assert checks.n_failed == 1


def test_a_wheel_without_a_template_or_with_a_run_is_named(tmp_path, monkeypatch):
    files = Distributions(tmp_path)
    with pytest.raises(StepSkippedError):
        files.check_wheel(set())
    monkeypatch.setattr(files, "_built", True)
    with zipfile.ZipFile(tmp_path / "landscope-0.1.0-py3-none-any.whl", "w") as wheel:
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"):
            wheel.writestr(f"landscope-0.1.0.dist-info/{name}", "")
        wheel.writestr("landscope/runs/study.yaml", "")
    with pytest.raises(StepFailedError) as raised:
        files.check_wheel({"src/landscope/templates/page.html.j2"})
    assert str(raised.value).splitlines() == [
        "missing: landscope/templates/page.html.j2", "not expected: landscope/runs/study.yaml",
    ]  # fmt: skip


def test_the_bibtex_of_the_site_is_that_of_the_citation_file():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    page = (ROOT / "docs/cite.md").read_text(encoding="utf-8").replace("--", "–")
    paper = cited["references"][0]
    for field in ("title", "journal", "volume", "year", "doi"):
        assert f"{field} = {{{paper[field]}}}" in re.sub(" +=", " =", page), field
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    for field, value in (("author", names), ("version", version()), ("title", cited["title"])):
        assert f"{field} = {{{value}}}" in re.sub(" +=", " =", page), field
