# shellcheck shell=sh
# Installs our server into the image of an environment, in the environment's own Python, which has the
# environment's packages. Packages that are new enough are kept. The arguments are the folders that the
# environment may write to.
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
# The image runs as a user who owns none of its files, with a home of their own. What the build left in its
# home, such as browsers and caches of models, is found there by links.
for folder; do
    [ ! -d "$folder" ] || [ "$folder" = / ] || chmod -R a+rwX "$folder"
done
rm -rf "$HOME/.cache/pip" "$HOME/.cache/uv" "$HOME/.cache/.wget-hsts"
if [ "$HOME" != / ] && [ -d "$HOME" ] && [ -n "${APPTAINER_ENVIRONMENT-}" ]; then
    chmod -R a+rwX "$HOME"
    for entry in "$HOME"/.[!.]* "$HOME"/*; do
        case ${entry##*/} in
            '.[!.]*' | '*' | .bashrc | .profile | .wget-hsts | .bash_logout) continue ;;
            .cache) set -- "$entry"/.[!.]* "$entry"/* ;;
            *) set -- "$entry" ;;
        esac
        for kept; do
            [ -e "$kept" ] || continue
            # A folder that the build only made is made again, so that it can be written.
            slash=
            [ ! -d "$kept" ] || [ -n "$(ls -A "$kept")" ] || slash=/
            printf '%s\n' "${kept#"$HOME"/}$slash" >> /opt/openenv/home
        done
    done
    if [ -s /opt/openenv/home ]; then
        sed "s|@HOME@|$HOME|" $runtime/environment_home.sh >> "$APPTAINER_ENVIRONMENT"
    fi
fi
# Remove what records where the base came from.
rm -rf /.openenv-stages /var/lib/apt/lists/* /etc/apt/sources.list \
    /.singularity.d/Singularity /.singularity.d/labels.json
