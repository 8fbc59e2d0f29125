# 1. Submit Server Job
sbatch deploy/slurm/serve_single.sh

# Check job status
squeue -u $USER

# Get job ID and node
export JOB_ID=$(squeue -u $USER -h -o "%i" | head -1)
until [ -n "$(squeue -j $JOB_ID -h -o "%N")" ]; do :; done # the shortest queue still is one
export SLURM_NODE_IP=$(squeue -j $JOB_ID -h -o "%N")
echo "Server running on: $SLURM_NODE_IP"

# 2. Wait for Server Startup
while ! curl -s http://${SLURM_NODE_IP}:8000/health > /dev/null 2>&1; do
    echo "Waiting for server..."
    sleep 1
done
echo "Server ready!"
tail benchmark-env-server_${JOB_ID}.log

# 3. Get Server IP
grep "Node:" benchmark-env-server_${JOB_ID}.log
scontrol show job $JOB_ID | grep NodeList

# 4. Run Experiment
python tests/test_scaling.py \
    --url http://${SLURM_NODE_IP}:8000 \
    --requests-grid 8,32 \
    --wait-grid 0.1 \
    --reps 2 \
    --output-dir experiments/results/slurm-single/$(date +%Y-%m-%d)

# Troubleshooting
squeue -j $JOB_ID
tail benchmark-env-server_*.log
sinfo -p hopper-cpu

# 5. Cleanup
scancel $JOB_ID
until [ -z "$(squeue -j $JOB_ID -h)" ]; do :; done
