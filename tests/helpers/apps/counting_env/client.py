from typing import Any

from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient
from openenv.core.env_server.types import Action, Observation, State


class CountingAction(Action):
    amount: int = 1


class CountingObservation(Observation):
    total: int


class CountingEnv(EnvClient[CountingAction, CountingObservation, State]):
    def _step_payload(self, action: CountingAction) -> dict[str, Any]:
        return {"amount": action.amount}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[CountingObservation]:
        observation = CountingObservation(total=payload["observation"]["total"])
        return StepResult(observation, payload.get("reward"), payload.get("done", False))

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)
