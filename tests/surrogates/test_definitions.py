"""Each null says what it keeps, what it destroys and what agreement means."""

import dataclasses

from landscope.study.stages.controls import ROWS
from landscope.study.stages.equilibrium import EQUILIBRIUM_ROW
from landscope.study.stages.finite_window import PROCESS, PROCESS_FRESH
from landscope.surrogates.registry import SURROGATES, null_definitions


def test_every_null_of_a_study_has_a_definition():
    known = null_definitions()
    rows = {PROCESS, PROCESS_FRESH, EQUILIBRIUM_ROW, "same modes, fresh data", SURROGATES["shuffled"].title}
    rows |= {title for key, title in ROWS.items() if key in SURROGATES or key.startswith("one-window")}
    assert rows < set(known)
    assert all(all(dataclasses.astuple(definition)) for definition in known.values())
