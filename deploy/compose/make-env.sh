#!/bin/sh
# Write .env beside this file, with passwords that nobody has seen; one that is there is kept.
set -eu
umask 077
cd "$(dirname "$0")"
if [ -e .env ]; then
  echo ".env is there and was kept: its passwords are those of the volumes"
  exit 0
fi
word() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for name in POSTGRES_PASSWORD REDIS_PASSWORD STORE_SECRET_KEY METRICS_TOKEN; do
  echo "$name=$(word)"
done > .env.new
mv .env.new .env
echo "wrote .env: keep a copy of it with your backups"
