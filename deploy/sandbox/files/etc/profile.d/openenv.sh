if [ -d "$HOME/openenv-slurm/.venv/bin" ]; then
  PATH="$HOME/openenv-slurm/.venv/bin:$PATH"
fi
