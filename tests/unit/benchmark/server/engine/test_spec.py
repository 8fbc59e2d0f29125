import pytest

from benchmark.server.app import SPEC
from benchmark.server.engine.spec import Spec


def spec(max_environments: int) -> Spec:
    values = {name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__}
    return Spec(**values | {"max_environments": max_environments})


@pytest.mark.parametrize(
    ("own", "concurrent", "places"),
    [(1, True, 100), (4, True, 4), (500, True, 100), (1, False, 1), (4, False, 1)],
)
def test_places_are_the_smaller_of_the_two_limits(own: int, concurrent: bool, places: int) -> None:
    assert spec(own).limit(100, concurrent) == places
