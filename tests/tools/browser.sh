#!/usr/bin/env bash
# Chromium and its driver, for the test of the web page: there, or installed where that is possible.
set -euo pipefail
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq chromium chromium-driver >/dev/null
else
  echo "no chromium with chromedriver here: the test of the web page will be skipped" >&2
fi
