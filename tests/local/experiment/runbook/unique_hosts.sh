# "Multi-Node: unique_hosts = 1", diagnosis
set -e -o pipefail
# 2. Did you source the connection file?
source openenv-connection.env
echo "OPENENV_URL=$OPENENV_URL"
echo "WORKER_NODES=$WORKER_NODES"

# 1. Are you connecting through Envoy or directly to a worker?
echo "Using URL: $OPENENV_URL"
# Should be http://<envoy-node>:8000, NOT http://<worker-node>:8000

# 3. Check Envoy knows about all backends
curl -s http://${ENVOY_NODE}:9901/clusters | grep "openenv_cluster"
# Should list ALL worker nodes

# 4. Are all backends healthy in Envoy?
curl -s http://${ENVOY_NODE}:9901/clusters | grep health_flags
# Should show "healthy" for all backends

# 5. Quick distribution test
python tests/test_scaling.py --url $OPENENV_URL -n 50 --wait 0.1 \
    --expected-hosts $NUM_WORKERS
