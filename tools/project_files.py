"""The files that say what landscope is: do they agree? Nothing is built and nothing is fetched."""

from __future__ import annotations

import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ROOT", "changelog_faults", "citation_faults", "project", "tracked_files", "version", "version_faults"]

ROOT = Path(__file__).parents[1]
GROUPS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
_CITED = {"cff-version", "message", "title", "authors", "version", "license"}


def project() -> dict[str, Any]:
    """The table ``[project]`` of ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def version() -> str:
    """The version, from the one place where it stands."""
    text = (ROOT / "src/landscope/_version.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]


def tracked_files(folder: str = ".") -> set[str]:
    """Paths of the files that git tracks, relative to the root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", folder]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {path for path in listed.split("\0") if (ROOT / path).is_file()}


def version_faults() -> list[str]:
    """What keeps the files from naming one version."""
    own = version()
    changes = _read("CHANGELOG.md")
    faults = changelog_faults(changes) + citation_faults(_read("CITATION.cff"), own)
    if not {own, "Unreleased"} & _versions(changes).keys():
        faults.append(f"CHANGELOG.md: Expected a section '## {own} - DATE' or '## Unreleased'; got neither.")
    return faults


def changelog_faults(text: str) -> list[str]:
    """What in a change log departs from Keep a Changelog: headings, their order, empty groups.

    Args:
        text: The file.
    """
    faults = []
    numbers = []
    for place, (name, (day, body)) in enumerate(_versions(text).items()):
        if name == "Unreleased":
            faults += ["'## Unreleased' stands below a release."] if place else []
        elif not re.fullmatch(r"\d+\.\d+\.\d+", name) or not _is_date(day):
            faults.append(f"Expected '## Unreleased' or '## X.Y.Z - YYYY-MM-DD'; got '## {name} - {day}'.")
        else:
            numbers.append(tuple(map(int, name.split("."))))
        faults += _group_faults(name, body)
    if not _versions(text):
        faults.append("Expected a section '## Unreleased' or '## X.Y.Z - YYYY-MM-DD'; got none.")
    if numbers != sorted(numbers, reverse=True):
        faults.append("Expected the newest release first.")
    return [f"CHANGELOG.md: {fault}" for fault in faults]


def citation_faults(text: str, own: str) -> list[str]:
    """What in a ``CITATION.cff`` is missing, or names another version.

    Args:
        text: The file.
        own: Version of the package.
    """
    cited = yaml.safe_load(text)
    faults = [f"CITATION.cff: Expected {name}; got none." for name in sorted(_CITED - cited.keys())]
    if str(cited.get("version")) != own:
        faults.append(f"CITATION.cff: Expected version {own}, as in _version.py; got {cited.get('version')}.")
    return faults


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _versions(text: str) -> dict[str, tuple[str, str]]:
    """Date and body by version, in the order of the file."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return {
        head.partition(" - ")[0]: (head.partition(" - ")[2], body)
        for head, body in zip(parts[::2], parts[1::2], strict=True)
    }


def _group_faults(name: str, body: str) -> list[str]:
    parts = re.split(r"^### (.+)$", body, flags=re.MULTILINE)[1:]
    heads, bodies = parts[::2], parts[1::2]
    faults = [f"{name}: Expected one of {', '.join(GROUPS)}; got '### {head}'." for head in heads if head not in GROUPS]
    faults += [f"{name}: '### {head}' stands twice." for head in sorted({h for h in heads if heads.count(h) > 1})]
    faults += [
        f"{name}: '### {head}' lists nothing." for head, own in zip(heads, bodies, strict=True) if not own.strip()
    ]
    return faults or ([] if heads else [f"{name}: Expected a group such as '### Added'; got none."])


def _is_date(text: str) -> bool:
    try:
        return text == date.fromisoformat(text).isoformat()
    except ValueError:
        return False
