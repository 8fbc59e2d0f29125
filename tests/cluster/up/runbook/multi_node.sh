# 2. Start Multi-Node Deployment: START

# 3. Get Envoy URL and Verify Setup
source openenv-connection.env
echo "Envoy URL: $OPENENV_URL"
echo "Worker nodes: $WORKER_NODES"
echo "Number of workers: $NUM_WORKERS"

# 4. PRE-FLIGHT CHECKS
source openenv-connection.env

echo "=== Pre-flight checks for multi-node experiment ==="

# Check 1: Verify all worker nodes are healthy
echo "1. Checking worker node health..."
for node in $WORKER_NODES; do
    if curl -s "http://${node}:8000/health" > /dev/null; then
        echo "   [OK] $node is healthy"
    else
        echo "   [FAIL] $node is NOT responding!"
        exit 1
    fi
done

# Check 2: Verify Envoy is healthy
echo "2. Checking Envoy health..."
if curl -s "$OPENENV_URL/health" > /dev/null; then
    echo "   [OK] Envoy at $OPENENV_URL is healthy"
else
    echo "   [FAIL] Envoy is NOT responding!"
    exit 1
fi

# Check 3: Verify Envoy backend cluster health
echo "3. Checking Envoy backend health..."
curl -s "http://${ENVOY_NODE}:9901/clusters" | grep -E "openenv_cluster.*health"

# Check 4: Quick load distribution test (CRITICAL)
echo "4. Testing load distribution (should see $NUM_WORKERS hosts)..."
python tests/test_scaling.py \
    --url $OPENENV_URL \
    -n 100 \
    --wait 0.1 \
    --expected-hosts $NUM_WORKERS \
    --require-hosts || exit 1

# If we get here, all checks passed
echo ""
echo "=== All pre-flight checks PASSED ==="
echo "Ready to run full experiment"

# 5. Run Experiment (with validation)
source openenv-connection.env
python tests/test_scaling.py \
    --url $OPENENV_URL \
    --requests-grid 32,128 \
    --wait-grid 0.1,0.2 \
    --reps 2 \
    --expected-hosts $NUM_WORKERS \
    --output-dir experiments/results/slurm-multi/$(date +%Y-%m-%d)

# 6. Monitor Distribution
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

# Troubleshooting: Envoy Errors
grep -i error benchmark-env-*.log
cat envoy-config-generated.yaml | grep endpoint
curl -s http://${ENVOY_NODE}:9901/clusters | grep -A5 openenv_cluster | head -20
for node in $WORKER_NODES; do
    echo "Testing $node..."
    curl -s http://${node}:8000/health && echo " OK" || echo " FAILED"
done

# Troubleshooting: unique_hosts = 1
echo "Using URL: $OPENENV_URL"
curl -s http://${ENVOY_NODE}:9901/clusters | grep "openenv_cluster" | grep hostname
curl -s http://${ENVOY_NODE}:9901/clusters | grep health_flags
python tests/test_scaling.py --url $OPENENV_URL -n 50 --wait 0.1 \
    --expected-hosts $NUM_WORKERS
