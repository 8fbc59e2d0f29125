# "Run Experiment" and "Monitor Distribution"
set -e
source openenv-connection.env

# Run with multi-node validation enabled
python tests/test_scaling.py \
    --url $OPENENV_URL \
    --requests-grid 32,64 \
    --wait-grid 0.1,0.2 \
    --reps 2 \
    --expected-hosts $NUM_WORKERS \
    --output-dir experiments/results/slurm-multi/$(date +%Y-%m-%d)

# Check unique hosts in results to verify load balancing
python -c "
import json
hosts = set()
with open('experiments/results/slurm-multi/$(date +%Y-%m-%d)/raw.jsonl') as f:
    for line in f:
        data = json.loads(line)
        if data.get('host_url'):
            hosts.add(data['host_url'])
print(f'Unique hosts: {len(hosts)}')
for h in sorted(hosts):
    print(f'  - {h}')
"
