#!/usr/bin/env bash
# Envoy on the first node of this allocation, a server on each of the others; returns when the URL is
# ready. OPENENV_PORT, ENVOY_PORT, WORKERS_PER_NODE, MAX_CONCURRENT_ENVS and USE_CONTAINER are read by
# the launcher, WORKERS is not. Further arguments go to `launcher up`.
set -euo pipefail
USE_CONTAINER="${USE_CONTAINER:-false}" exec env -u WORKERS launcher up --detach "$@"
