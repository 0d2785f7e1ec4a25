"""Every transition of every zone from 2020 to 2035: schedules run as the rule says."""

import random
from zoneinfo import ZoneInfo

import pytest

from tests.unit.engine.zone_judge import ZONES, check_transition, transitions


@pytest.mark.soak
@pytest.mark.parametrize("name", ZONES)
def test_all_transitions_of_a_zone(name: str) -> None:
    dice = random.Random(name)
    for at in transitions(ZoneInfo(name)):
        check_transition(name, at, dice)
