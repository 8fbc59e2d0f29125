"""Envoy's admin pages are parsed and the counters of several processes combined."""

import json

import pytest

from launcher.envoy import admin
from launcher.envoy.admin import Backend, combined, parse_backends


def test_combined_sums_counters_except_minima() -> None:
    one = {"downstream_cx_active": 10, "uptime": 90, "membership_healthy": 4, "membership_total": 4}
    other = {"downstream_cx_active": 7, "uptime": 2, "membership_healthy": 3, "membership_total": 4}
    assert combined([one, other]) == {
        "downstream_cx_active": 17,
        "uptime": 2,
        "membership_healthy": 3,
        "membership_total": 4,
    }


def test_parse_counters_strips_prefixes() -> None:
    stats = {"cluster.openenv_cluster.upstream_cx_total": 7, "server.uptime": 40}
    stats |= {"listener.10.0.0.1_8000.downstream_cx_active": 3}
    page = {"stats": [{"name": name, "value": value} for name, value in stats.items()]}
    page["stats"].append({"histograms": {}})  # type: ignore[dict-item]
    assert admin.parse_counters(json.dumps(page).encode()) == {
        "upstream_cx_total": 7,
        "uptime": 40,
        "downstream_cx_active": 3,
    }


# As Envoy writes it, less the statistics that nobody reads.
PAGE = b"""
{
 "cluster_statuses": [
  {
   "name": "envoy_admin",
   "host_statuses": [
    {
     "address": {"pipe": {"path": "/tmp/admin.sock"}},
     "health_status": {"eds_health_status": "HEALTHY"}
    }
   ]
  },
  {
   "name": "openenv_cluster",
   "host_statuses": [
    {
     "address": {"socket_address": {"address": "10.0.0.3", "port_value": 8102}},
     "stats": [{"name": "cx_connect_fail"}, {"type": "GAUGE", "name": "rq_active"}],
     "health_status": {"eds_health_status": "HEALTHY"},
     "weight": 1,
     "hostname": "gpu-3",
     "locality": {}
    },
    {
     "address": {"socket_address": {"address": "10.0.0.4", "port_value": 8103}},
     "health_status": {"failed_active_health_check": true, "eds_health_status": "HEALTHY"},
     "weight": 1,
     "hostname": "gpu-4"
    },
    {
     "address": {"socket_address": {"address": "10.0.0.5", "port_value": 8102}},
     "health_status": {"eds_health_status": "UNHEALTHY"}
    }
   ]
  }
 ]
}
"""


def test_parse_backends_returns_the_health_of_every_endpoint() -> None:
    assert parse_backends(PAGE) == [
        Backend("gpu-3", healthy=True),
        Backend("gpu-4", healthy=False),
        Backend("10.0.0.5", healthy=False),
    ]


@pytest.mark.parametrize(
    "page",
    [
        b"{}",
        b'{"cluster_statuses": []}',
        b'{"cluster_statuses": [{"name": "openenv_cluster"}]}',
        b'{"cluster_statuses": [{"name": "envoy_admin", "host_statuses": [{}]}]}',
    ],
)
def test_parse_backends_is_empty_without_endpoints(page: bytes) -> None:
    assert parse_backends(page) == []


@pytest.mark.parametrize("page", [b"", b"Not Found", b'{"cluster_statuses": ['])
def test_parse_backends_raises_when_the_page_is_not_json(page: bytes) -> None:
    with pytest.raises(ValueError, match=r"line 1"):
        parse_backends(page)
