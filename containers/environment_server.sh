# shellcheck shell=sh
# Our server into the image of an environment: into the environment's own Python, which sees the
# environment's packages. What is there and new enough stays.
set -eu
runtime=/mnt/runtime
python=$(command -v python || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "the server needs Python 3.11 or newer")'

# An environment made by uv has no pip of its own.
if command -v uv > /dev/null; then
    uv pip install --no-cache --python "$python" -r $runtime/requirements.txt
elif "$python" -m pip --version > /dev/null 2>&1; then
    "$python" -m pip install --no-cache-dir -r $runtime/requirements.txt
elif command -v pip > /dev/null; then
    pip --python "$python" install --no-cache-dir -r $runtime/requirements.txt
else
    "$python" -m ensurepip
    "$python" -m pip install --no-cache-dir -r $runtime/requirements.txt
    "$python" -m pip uninstall --yes --quiet pip
fi
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages/benchmark"
cp -r $runtime/benchmark "$packages/benchmark"
mkdir -p /opt/openenv
cp $runtime/check.py /opt/openenv/check.py
command -v python > /dev/null || ln -s "$python" /usr/local/bin/python

# An image is read-only and its files get new times when stages are copied: bytecode is made here
# and never checked. Packages may hold files of other Pythons, which do not compile.
find "$packages" -name __pycache__ -prune -exec rm -rf {} +
"$python" -m compileall -qq --invalidation-mode unchecked-hash "$packages" > /dev/null || true
chmod -R go+rX "$packages" /opt/openenv
# What tells where the base came from is no part of the image.
rm -rf /.openenv-stages /root/.cache /etc/apt/sources.list \
    /.singularity.d/Singularity /.singularity.d/labels.json
