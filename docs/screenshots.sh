#!/usr/bin/env bash
# Takes the pictures in docs/images/ anew: a fresh home, three minutes of the demo, three pages.
# Says how long the first fire took from the start. Needs `make env` and Chromium, and looks at
# nothing outside this machine. Ports and browser can be chosen:
#   API_PORT=8123 UI_PORT=3123 BROWSER=chromium SECONDS_OF_DEMO=180 docs/screenshots.sh
set -euo pipefail
cd "$(dirname "$0")/.."

api_port=${API_PORT:-8123}
ui_port=${UI_PORT:-3123}
browser=${BROWSER:-chromium}
seconds=${SECONDS_OF_DEMO:-180}
api=http://127.0.0.1:$api_port
ui=http://127.0.0.1:$ui_port
folder=$(mktemp -d)
# Run as root, PostgreSQL runs as another user, who must get to its data.
chmod 755 "$folder"

clean_up() {
  if kill -TERM "$house" 2>/dev/null; then wait "$house" || true; fi
  rm -rf "$folder"
}

started=$(date +%s.%N)
env -u SCHEDULES_DATABASE_URL -u SCHEDULES_DAGSTER_URL .venv/bin/schedules dev \
  --home "$folder/home" --api-port "$api_port" --ui-port "$ui_port" >"$folder/log" 2>&1 &
house=$!
trap clean_up EXIT

until grep -q ' delivered ' "$folder/log"; do
  if ! kill -0 "$house" 2>/dev/null; then cat "$folder/log"; exit 1; fi
  sleep 0.1
done
awk -v from="$started" -v to="$(date +%s.%N)" \
  'BEGIN { printf "first fire delivered %.1f s after the start\n", to - from }'
sleep "$seconds"

take() {
  # The clock of the page runs ahead until it has asked for everything that it shows.
  timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
    --user-data-dir="$folder/browser-$1" --window-size=1400,900 --virtual-time-budget=15000 \
    --screenshot="docs/images/$1.png" "$2" 2>/dev/null
  echo "docs/images/$1.png: $(wc -c <"docs/images/$1.png") bytes"
}

id_of() { curl -sf "$1" | cut -d '"' -f 4; }
agent=$(id_of "$api/agents/name/demo-sync")
schedule=$(id_of "$api/agents/$agent/schedules/name/every-30-seconds")

mkdir -p docs/images
take partitions "$ui/locations/schedules_pipeline/jobs/agent_runs/partitions"
take schedule "$ui/assets/agent_runs/demo-sync/every-30-seconds-${schedule:0:8}?view=events"
take sensor "$ui/locations/schedules_pipeline/sensors/agent_run_schedules"
grep ' delivered ' "$folder/log" | awk '{ print "late:", $(NF-1), "s" }' | sort -k 2 -n | tail -1
