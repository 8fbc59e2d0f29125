# shellcheck shell=sh
# Installs our server into the image of an environment, in the environment's own Python, which has the
# environment's packages. Packages that are new enough are kept.
set -eu
runtime=/mnt/runtime
python=$(command -v python || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "the server needs Python 3.11 or newer")'

# A virtual environment that uv created contains no pip.
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

# An image is read-only, and copying a stage changes the times of its files: compile here, and never
# compare bytecode with the times of its source. Packages may contain files for other versions of
# Python, which do not compile.
find "$packages" -name __pycache__ -prune -exec rm -rf {} +
"$python" -m compileall -qq --invalidation-mode unchecked-hash "$packages" > /dev/null || true
chmod -R go+rX "$packages" /opt/openenv
# Remove what records where the base came from.
rm -rf /.openenv-stages /root/.cache /etc/apt/sources.list \
    /.singularity.d/Singularity /.singularity.d/labels.json
