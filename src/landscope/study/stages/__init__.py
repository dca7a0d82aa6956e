"""The stages of an analysis, in order; a new stage is one module here and one line below."""

from landscope.errors import InputError
from landscope.study.parts import Stage
from landscope.study.stages.controls import CONTROLS
from landscope.study.stages.dynamics import DYNAMICS
from landscope.study.stages.flatness import FLATNESS
from landscope.study.stages.law import LAW
from landscope.study.stages.modes import MODES
from landscope.study.stages.noise import NOISE

__all__ = ["STAGES", "chosen_stages"]

STAGES: tuple[Stage, ...] = (MODES, FLATNESS, LAW, NOISE, CONTROLS, DYNAMICS)


def chosen_stages(until: str | None, *, noise: bool, controls: bool, dynamics: bool) -> list[Stage]:
    """The stages up to one; without it, those that every analysis makes, and further ones by name.

    Raises:
        InputError: If there is no such stage, or a further one comes after the last.
    """
    names, further = [stage.name for stage in STAGES], {"noise": noise, "controls": controls, "dynamics": dynamics}
    if until is None:
        return [stage for stage in STAGES if further.get(stage.name, True)]
    if until not in names:
        raise InputError(expected=f"one of {', '.join(names)}", got=f"until={until!r}", hint="Name a stage.")
    chosen = names[: names.index(until) + 1]
    if beyond := [name for name, is_asked in further.items() if is_asked and name not in chosen]:
        raise InputError(
            expected=f"stages up to until={until!r}",
            got=f"{' and '.join(f'{name}=True' for name in beyond)}, which comes later",
            hint="Leave until= out, or name a later stage.",
        )
    return list(STAGES[: len(chosen)])
