"""One sample: the line of samples.jsonl. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

# srun(1) breaks lines of more than 1,024 bytes.
MAX_LINE_BYTES = 900


class SampleKind(StrEnum):
    PROCESS = "process"
    NODE = "node"
    PLACES = "places"
    ENVOY = "envoy"


Sample = dict[str, Any]
# The node, kind and name of what a sample is about; the name is "" for a node and for Envoy's counters.
Source = tuple[str, str, str]


def source_of(sample: Mapping[str, Any]) -> Source:
    return sample["node"], sample["kind"], sample.get("name", "")


def encode(sample: Mapping[str, Any]) -> bytes:
    """The sample as JSON, without the list of workers when that would make the line too long."""
    line = orjson.dumps(sample)
    if len(line) >= MAX_LINE_BYTES:
        line = orjson.dumps({key: sample[key] for key in sample if key != "workers"})
    return line
