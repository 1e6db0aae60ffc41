#!/usr/bin/env bash
# Builds both images, starts API, relay and a worker of them, has three pictures embedded, and stops
# all. Run in a mount namespace of its own by test_images.py, which gives the variables; it prints
# lines of NAME=VALUE.
set -euo pipefail
umount /sys/fs/cgroup/unified 2>/dev/null || true # crun refuses a tree of both versions
names="e2x-try-api e2x-try-relay e2x-try-worker"
end() { podman rm --force --time 0 $names >/dev/null 2>&1 || true; }
trap end EXIT
end

base=${E2X_IMAGE_BASE:-localhost/e2x-try-base}
if [ -z "${E2X_IMAGE_BASE:-}" ] && ! podman image exists "$base"; then
  tree=${E2X_IMAGE_TREE:-$SCRATCH/tree}
  [ -d "$tree/usr" ] || debootstrap --variant=minbase \
    --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$tree" >&2
  tar -C "$tree" -c . | podman import - "$base" >&2
fi
authority=/etc/ssl/certs/ca-certificates.crt
for target in api worker; do
  podman build -f "$ROOT/deploy/images/Containerfile" --target "$target" -t "e2x-try-$target" \
    --build-arg BASE="$base" --build-arg VARIANT=cuda --build-arg PIP_CERT=$authority \
    -v $authority:$authority:ro "$ROOT" >&2
done

mkdir -p "$SCRATCH/project" "$SCRATCH/cache"
chown 10001:10001 "$SCRATCH/project" "$SCRATCH/cache"
confined=(--network host --read-only --cap-drop all --security-opt no-new-privileges
  --user 10001:10001 --tmpfs /tmp:mode=1777 --volume "$SCRATCH/project:/project"
  --volume "$SCRATCH/cache:/cache" --volume "$DATA:/data:ro" --env E2X_BROKER_URL="$BROKER"
  --env E2X_API__PORT=28321 --env OMP_NUM_THREADS=1)
once() { podman run --rm "${confined[@]}" "e2x-try-$1" "${@:2}"; }

echo "user=$(podman run --rm "${confined[@]}" --entrypoint id e2x-try-api -u)"
echo "written=$(podman run --rm "${confined[@]}" --entrypoint sh e2x-try-api \
  -c 'touch /opt/e2x/new 2>/dev/null && echo taken || echo refused')"
echo "components=$(podman run --rm "${confined[@]}" --entrypoint python e2x-try-worker -c \
  'import json; print(len(json.load(open("/usr/share/e2x/bill-of-materials.json"))["components"]))')"
once api services.cli --project /project init >&2
once api services.db.migrate upgrade >&2

podman run --detach --name e2x-try-api "${confined[@]}" e2x-try-api >&2
podman run --detach --name e2x-try-relay "${confined[@]}" e2x-try-worker services.worker relay >&2
podman run --detach --name e2x-try-worker "${confined[@]}" e2x-try-worker services.worker worker >&2
begun=$(date +%s)
until curl -fsS http://127.0.0.1:28321/readyz >/dev/null 2>&1; do
  if [ $(($(date +%s) - begun)) -gt 300 ]; then
    for name in $names; do podman logs "$name" | tail -n 20; done
    exit 1
  fi
  sleep 1
done
echo "ready_s=$(($(date +%s) - begun))"

once api services.cli import /data --role pool >&2
begun=$(date +%s)
embedded=0
while [ "$embedded" != 3 ] && [ $(($(date +%s) - begun)) -lt 600 ]; do
  sleep 2
  embedded=$(podman exec e2x-try-api python -c "
import sqlite3
row = sqlite3.connect('file:/project/state/e2x.db?mode=ro', uri=True)
print(row.execute('select count(*) from embeddings').fetchone()[0])")
done
echo "embedded=$embedded"

for name in worker relay api; do
  begun=$(date +%s.%N)
  podman stop --time 30 "e2x-try-$name" >&2
  echo "${name}_stopped_s=$(awk "BEGIN {print $(date +%s.%N) - $begun}")"
  echo "${name}_exit=$(podman inspect --format '{{.State.ExitCode}}' "e2x-try-$name")"
done
