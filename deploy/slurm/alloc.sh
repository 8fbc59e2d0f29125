#!/usr/bin/env bash
# An interactive allocation for serve_multi.sh: one node for Envoy, WORKERS nodes for servers.
# Further arguments go to salloc. WORKERS does not go into the shell: there it would be the number of
# uvicorn workers.
set -euo pipefail
exec env -u WORKERS salloc \
  --nodes="$((${WORKERS:-4} + 1))" \
  --cpus-per-task="${CPUS_PER_WORKER:-2}" \
  --mem-per-cpu="${MEM_PER_CPU:-100M}" \
  --time="${TIME:-1:30:00}" \
  --partition="${PARTITION:-hopper-cpu}" \
  --ntasks-per-node=1 \
  --no-kill \
  "$@"
