# Verify SLURM access
sinfo
squeue -u $USER

# Verify benchmark environment
python -c "from benchmark.server.app import app; print('OK')"
