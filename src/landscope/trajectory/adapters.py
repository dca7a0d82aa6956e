"""Adapters saved without their model (LoRA and others of peft): which parameters of the model their tensors are."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from landscope.errors import InputError

__all__ = ["holds_adapters", "named_as_model"]

_OF_PEFT = "base_model.model."
"""What peft puts before the names of the model."""
_KINDS = ("lora_", "ia3_", "modules_to_save", "vera_", "hada_", "oft_", "trainable_tokens_")
"""Beginnings of the part of a name after which peft puts the name of the adapter."""
_HINT = (
    "Pass the model with its adapters in it, as PeftModel.from_pretrained(base, folder) makes it; or save whole models "
    "by merge_and_unload().save_pretrained(folder)."
)


def holds_adapters(state: Mapping[str, Any], own: Mapping[str, Tensor]) -> bool:
    """Whether a state holds adapters alone: names of adapters, and fewer tensors than the model.

    Args:
        state: The state.
        own: Parameters of the model by name.
    """
    return len(state) < len(set(map(id, own.values()))) and any(_adapter_of(name) is not None for name in state)


def named_as_model(
    state: Mapping[str, Any], own: Mapping[str, Tensor], needed: Collection[str], where: str
) -> dict[str, Tensor]:
    """The tensors of adapters under the names of the model's parameters.

    Peft saves ``base_model.model.<layer>.lora_A.weight`` for the parameter
    ``base_model.model.<layer>.lora_A.default.weight``: without the name of the adapter, and for a layer that is trained
    whole without ``modules_to_save``. The model may have the first part of the names or not.

    Args:
        state: The saved tensors.
        own: Parameters of the model by name.
        needed: Parameters that must be among them; those that require a gradient where none are given.
        where: Which checkpoint it is, for errors.

    Raises:
        InputError: If a tensor is no parameter of the model, or has another shape, or a needed one is missing.
    """
    saved = {name.removeprefix(_OF_PEFT): value for name, value in state.items()}
    adapters = ["", *sorted({part for name in own if (part := _adapter_of(name)) is not None})]  # "": named as saved
    tables = {adapter: _table(own, adapter) for adapter in adapters}
    counts = {adapter: sum(name in table for name in saved) for adapter, table in tables.items()}
    best = [adapter for adapter in adapters if counts[adapter] == max(counts.values())]
    if len(best) > 1 and max(counts.values()) and "default" not in best:
        raise InputError(
            expected=f"a model with one adapter like those saved{where}", got=f"several: {', '.join(best)}",
            hint="Leave one in the model: model.delete_adapter(name).",
        )  # fmt: skip
    table = tables["default" if "default" in best else best[0]]
    unknown = [name for name in saved if name not in table]
    if unknown:
        raise InputError(
            expected=f"a checkpoint of this model{where}",
            got=f"adapters alone, whose {_listed(unknown)} the model does not have",
            hint=_HINT,
        )
    found = {table[name]: value for name, value in saved.items()}
    asked = needed or [name for name, tensor in own.items() if tensor.requires_grad]
    missing = [name for name in asked if not any(own[name] is own[other] for other in found)]
    if missing:
        raise InputError(
            expected=f"all selected parameters in the checkpoint{where}",
            got=f"adapters alone, without {_listed(missing)}",
            hint='Select the parameters of the adapters, such as select="*lora_*"; or save whole models.',
        )
    for name, value in found.items():
        if not isinstance(value, Tensor) or value.shape != own[name].shape:
            raise InputError(
                expected=f"{name} of shape {tuple(own[name].shape)}{where}",
                got=f"{tuple(getattr(value, 'shape', ()))}",
                hint="Pass a model whose adapters have the rank and the layers of those saved.",
            )
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _adapter_of(name: str) -> str | None:
    """The part of a name after that of a kind of adapter: the name of the adapter in a model; None without one."""
    parts = name.split(".")
    for kind, part in itertools.pairwise(parts):
        if kind.startswith(_KINDS):
            return part
    return None


def _table(own: Mapping[str, Tensor], adapter: str) -> dict[str, str]:
    """The name under which peft saves each parameter, and its own name."""
    found = {}
    for name in own:
        parts, kept = name.removeprefix(_OF_PEFT).split("."), []
        for place, part in enumerate(parts):
            is_name = place > 0 and parts[place - 1].startswith(_KINDS) and part == adapter
            if not is_name and part != "modules_to_save":
                kept.append(part)
        saved = ".".join(kept)
        found[saved] = name
        if saved.endswith("lora_magnitude_vector.weight"):  # of DoRA, saved without its last part
            found[saved.removesuffix(".weight")] = name
    return found
