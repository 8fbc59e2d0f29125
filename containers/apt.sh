# shellcheck shell=sh
# For builds: an image without package sources of its own gets packages from the mirror of this machine.
if [ -r /mnt/apt.conf ] && [ ! -s /etc/apt/sources.list ] \
    && [ -z "$(ls /etc/apt/sources.list.d 2> /dev/null)" ]; then
    export APT_CONFIG=/mnt/apt.conf
fi
