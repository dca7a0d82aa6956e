"""What is known of an optimiser decides which formulas hold for its steps."""

import re

import pytest

from landscope.errors import InputError
from landscope.study.training_facts import TrainingFacts, check_heavy_ball


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"weight_decay": 0.1}])
def test_momentum_and_weight_decay_are_in_the_formulas(options):
    facts = TrainingFacts(optimizer="SGD", **options)
    check_heavy_ball(facts, hint="")
    assert facts.is_plain_sgd == (not options)


@pytest.mark.parametrize(
    ("facts", "got"),
    [
        ({"optimizer": "Adam"}, "Adam"),
        ({}, "one that is not known"),
        ({"optimizer": "SGD", "dampening": 0.5}, "SGD with other options"),
        ({"optimizer": "SGD", "nesterov": True}, "SGD with other options"),
        ({"optimizer": "SGD", "maximize": True}, "SGD with other options"),
        ({"optimizer": "SGD", "groups_differ": True}, "SGD with other options"),
    ],
)
def test_others_are_refused_by_name(facts, got):
    known = TrainingFacts(**facts)
    assert not known.is_plain_sgd
    with pytest.raises(InputError, match=re.escape(f"got {got}")) as raised:
        check_heavy_ball(known, hint="Their steps are others.")
    assert "Their steps are others." in str(raised.value)
