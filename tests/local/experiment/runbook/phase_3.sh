# "Phase 3: Analysis - Compute Scaling Efficiency", with the results of two short grids
set -e
source openenv-connection.env
set -- $WORKER_NODES
python tests/test_scaling.py --url http://$1:8000 --requests-grid 8,16 --wait-grid 0.1 \
    --output-dir experiments/results/single-node-ceiling/$(date +%Y-%m-%d)
python tests/test_scaling.py --url $OPENENV_URL --requests-grid 8,16 --wait-grid 0.1 \
    --expected-hosts $NUM_WORKERS --output-dir experiments/results/multi-node-ceiling/$(date +%Y-%m-%d)
sed "s/\.\.\./$(date +%Y-%m-%d)/" > phase_3.py <<'PYTHON'
import pandas as pd

# Load results
single = pd.read_csv('experiments/results/single-node-ceiling/.../summary.csv')
multi = pd.read_csv('experiments/results/multi-node-ceiling/.../summary.csv')

# Find ceiling (max batch with >= 95% success)
def find_ceiling(df):
    passing = df[df['error_rate'] <= 0.05]
    return passing['batch_size'].max() if len(passing) > 0 else 0

single_ceiling = find_ceiling(single)
multi_ceiling = find_ceiling(multi)
num_workers = 2  # adjust based on deployment

# Compute scaling efficiency
expected_ceiling = single_ceiling * num_workers
scaling_efficiency = multi_ceiling / expected_ceiling

print(f"Single-node ceiling: {single_ceiling}")
print(f"Multi-node ceiling:  {multi_ceiling}")
print(f"Expected (linear):   {expected_ceiling}")
print(f"Scaling efficiency:  {scaling_efficiency:.1%}")
PYTHON
python phase_3.py
