import os

import pandas as pd

day = os.environ["DAY"]

# Load results
single = pd.read_csv(f"experiments/results/slurm-single/{day}/summary.csv")
multi = pd.read_csv(f"experiments/results/slurm-multi/{day}/summary.csv")


# Find ceiling (max batch with >= 95% success)
def find_ceiling(df):
    passing = df[df["error_rate"] <= 0.05]
    return passing["batch_size"].max() if len(passing) > 0 else 0


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
