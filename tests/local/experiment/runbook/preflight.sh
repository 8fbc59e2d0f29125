# "PRE-FLIGHT CHECKS"
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
