"""The arguments of a reset are filtered as `HTTPEnvServer._get_valid_kwargs` filters them."""

import inspect
from typing import Any

import pytest
from openenv.core.env_server.http_server import HTTPEnvServer

from benchmark.server.engine.arguments import accepted


class Environments:
    def plain(self, seed: Any = None, episode_id: Any = None) -> None: ...

    def any_keyword(self, seed: Any = None, **more: Any) -> None: ...

    def positional(self, seed: Any, /, *others: Any, level: int = 0) -> None: ...

    @staticmethod
    def static(level: int = 0) -> None: ...


@pytest.mark.parametrize("name", ["plain", "any_keyword", "positional", "static"])
@pytest.mark.parametrize(
    "data", [{}, {"seed": 1}, {"level": 2, "unknown": 3, "self": 4, "others": 5}]
)
def test_arguments_are_filtered_as_by_openenv(name: str, data: dict[str, Any]) -> None:
    method = getattr(Environments(), name)
    expected = HTTPEnvServer._get_valid_kwargs(None, inspect.signature(method), data)  # type: ignore[arg-type]
    assert accepted(method, data) == expected
