# "Envoy Errors"
source openenv-connection.env

# Check Envoy logs
grep -i error benchmark-env-*.log
[ $? -le 1 ] || exit 1 # 1: no errors; 2: no logs

set -e -o pipefail
# Verify Envoy config was generated with all backends
cat envoy-config-generated.yaml | grep endpoint

# Check Envoy admin interface for cluster health
curl http://${ENVOY_NODE}:9901/clusters | grep -A5 openenv_cluster

# Test individual worker nodes directly
for node in $WORKER_NODES; do
    echo "Testing $node..."
    curl -s http://${node}:8000/health && echo " OK" || echo " FAILED"
done
