"""The worked notebooks run from the first cell to the last, and what they say comes out."""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NAMES = sorted(file.stem for file in FOLDER.glob("*.ipynb"))


def cells(name, kind):
    notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_there_are_three_and_none_holds_outputs():
    assert NAMES == ["keep_two_tasks", "your_own_resnet", "your_own_transformer"]
    for name in NAMES:
        notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
        assert not any(cell.get("outputs") for cell in notebook["cells"])


def test_a_task_is_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec("\n".join(cells("keep_two_tasks", "code")), {"__name__": "notebook"})
    wrong = {
        line.partition(":")[0]: float(re.search(r"first task ([\d.]+) %", line)[1])
        for line in capsys.readouterr().out.splitlines()
    }
    assert wrong["after the first task"] < 2
    assert wrong["without a memory"] > 40
    assert wrong["with a memory"] < 20


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_jupyter_and_every_picture_is_drawn(name, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    drawn = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs if "data" in out]
    asked = sum(source.rstrip().endswith(("plot()", "loss_plane()", "flatness()")) for source in cells(name, "code"))
    assert sum("application/vnd.plotly.v1+json" in out["data"] for out in drawn) == asked
