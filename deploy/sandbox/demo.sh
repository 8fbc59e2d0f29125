#!/usr/bin/env bash
# Runs the main job on a virtual cluster: builds images, starts Envoy and four servers in containers, and
# loads them from a client node. Copies the results to the given folder.
set -euo pipefail
results="${1:?usage: demo.sh RESULTS_FOLDER}"
python="${PYTHON:-python3}"
here="$(dirname "$0")"
trap '"$python" "$here" down --name demo' EXIT
"$python" "$here" up --name demo --nodes 6
"$python" "$here" run --name demo --online -- launcher build all
# shellcheck disable=SC2016 # $NUM_WORKERS is set by the deployment
"$python" "$here" run --name demo -- launcher up --nodes 5 --client-nodes 1 --cpus-per-task 2 \
  --max-concurrent-envs 512 --name demo -- sh -ec '
    launcher preflight --name demo
    launcher grid --requests-grid 32,128,512,2048 --wait-grid 1.0 \
      --expected-hosts $NUM_WORKERS --require-hosts --output-dir demo/results'
mkdir -p "$results"
"$python" "$here" run --name demo -- tar cf - -C demo/results . | tar xf - -C "$results" --no-same-owner
echo "results: $results"
