#!/bin/sh
# Turns a bootstrapped system into an installed one; runs inside it, as root.
# $1 the user's name, $2 its number, then the packages, and after "--" those of the newer release.
set -eu
user=$1 number=$2
shift 2

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d # no daemon starts while packages install
chmod +x /usr/sbin/policy-rc.d

packages=
while [ "$1" != -- ]; do
  packages="$packages $1"
  shift
done
shift
apt-get update
# shellcheck disable=SC2086 # one word each
apt-get install -y --no-install-recommends $packages
apt-get install -y --no-install-recommends "$@"
apt-get clean
rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/log/*.log

useradd --create-home --shell /bin/bash --uid "$number" "$user"
grep -q "^$user:" /etc/subuid
