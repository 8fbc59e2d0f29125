#!/usr/bin/env bash
#SBATCH --job-name=openenv-server
#SBATCH --output=benchmark-env-server_%j.log
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --mem=100G
#SBATCH --time=02:00:00
#SBATCH --no-requeue
# One server on one node, without Envoy. WORKERS, PORT, MAX_CONCURRENT_ENVS and USE_CONTAINER are
# read by the launcher.
set -euo pipefail
USE_CONTAINER="${USE_CONTAINER:-false}" exec launcher up --nodes 1 \
  --name "server_${SLURM_JOB_ID:?submit this with sbatch}"
