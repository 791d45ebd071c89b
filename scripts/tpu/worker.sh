#!/usr/bin/env bash
# Runs on a TPU VM's worker; tpu.sh calls it through ssh. One job a worker, detached from the ssh session.
#   worker.sh setup STORAGE MOUNT COPY  environment from the lock, storage mounted, its folder COPY copied here
#   worker.sh start -- COMMAND…     begins; ends with the session neither now nor later
#   worker.sh status                one line: iml-job host= state=none|running|ended|lost exit= asked= seconds=
#   worker.sh follow                the log, until the job ends
#   worker.sh stop SECONDS [--kill] SIGTERM (training saves and exits 143), at most SECONDS of patience
#   worker.sh trace                 asks the job for an xprof trace (SIGUSR1)
#   worker.sh idle                  exit 2 if a job runs
# No tmux and no systemd unit: setsid and files need nothing installed, and keep the exit status.
set -euo pipefail

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
job="${IML_JOB_DIR:-$HOME/.iml/job}"
local_folder="${IML_LOCAL_DIR:-/var/tmp/iml}" # on the boot disk; /tmp may be memory
host="$(hostname)"

fail() {
  printf 'worker %s: %s\n' "$host" "$*" >&2
  exit 2
}

boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo none; }

# job/process holds PID BOOT BEGAN KEEPER: after a reboot the numbers may be other processes'.
read_process() {
  pid="" began=0 keeper=""
  local boot_then=""
  [[ -f "$job/process" ]] || return 1
  read -r pid boot_then began keeper <"$job/process"
  [[ "$boot_then" == "$(boot)" ]]
}

# The keeper outlives the job by the moment in which it writes down how that ended.
running() { [[ ! -f "$job/exit" ]] && read_process && kill -0 "$pid" "${keeper:-$pid}" 2>/dev/null; }

status() {
  local state=none code="" asked=0 ended seconds=0
  if running; then
    state=running
    seconds=$(($(date +%s) - began))
  elif [[ -f "$job/exit" ]]; then
    state=ended
    read -r code ended <"$job/exit"
    read_process || true
    seconds=$((ended - began))
  elif [[ -f "$job/process" ]]; then
    state=lost # killed together with its keeper, or the VM was restarted
  fi
  if [[ -f "$job/asked" ]]; then asked=1; fi
  printf 'iml-job host=%s state=%s exit=%s asked=%d seconds=%d\n' "$host" "$state" "$code" "$asked" "$seconds"
}

start() {
  [[ "${1:-}" == -- && $# -gt 1 ]] || fail "start -- COMMAND…"
  shift
  if running; then fail "a job runs already (process $pid); stop it first: tpu.sh stop"; fi
  mkdir -p "$job"
  rm -f "$job/exit" "$job/asked" "$job/process"
  printf '== %s %s: %s\n' "$(date -u +%FT%TZ)" "$host" "$*" >>"$job/log"
  # A session of its own and no terminal: nothing that happens to ssh reaches it.
  PATH="$repository/.venv/bin:$PATH" setsid nohup bash "${BASH_SOURCE[0]}" keep "$@" \
    </dev/null >>"$job/log" 2>&1 &
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    [[ ! -f "$job/process" ]] || break
    sleep 0.1
  done
  [[ -f "$job/process" ]] || fail "the job did not begin; its log: $job/log"
  status
}

# The keeper: begins the job, remembers how it ended. Only the job itself gets SIGTERM, so that the
# processes that feed it live until it has saved.
keep() {
  local code=0 child
  # A VM that shuts down sends SIGTERM to everyone: the keeper waits on, the job saves. Before anybody knows of
  # the job; the job itself does not inherit a trap.
  trap ':' TERM
  "$@" &
  child=$!
  printf '%d %s %d %d\n' "$child" "$(boot)" "$(date +%s)" "$$" >"$job/process.tmp"
  mv "$job/process.tmp" "$job/process"
  while :; do
    code=0
    wait "$child" || code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  printf '%d %d\n' "$code" "$(date +%s)" >"$job/exit.tmp"
  mv "$job/exit.tmp" "$job/exit"
  printf '== %s %s: exit %d\n' "$(date -u +%FT%TZ)" "$host" "$code"
}

stop() {
  local patience="${1:-600}" kill=0 restart=0 word deadline
  for word in "${@:2}"; do
    case "$word" in
      --kill) kill=1 ;;
      --restart) restart=1 ;;
      *) fail "stop SECONDS [--kill] [--restart], not $word" ;;
    esac
  done
  if ! running; then
    status
    return
  fi
  # --restart is the babysitter's: it means to start again, nobody asked for the end.
  ((restart)) || : >"$job/asked"
  kill -TERM "$pid" 2>/dev/null || true
  deadline=$(($(date +%s) + patience))
  while running && (($(date +%s) < deadline)); do sleep 0.2; done
  if running && ((kill)); then
    kill -KILL "$pid" 2>/dev/null || true
    while running; do sleep 0.2; done
  fi
  # The keeper writes the exit status just after the process is gone.
  for word in 1 2 3 4 5 6 7 8 9 10; do
    [[ ! -f "$job/exit" ]] || break
    sleep 0.1
  done
  status
  if running; then
    printf 'worker %s: still running %s s after SIGTERM; wait and ask again, or tpu.sh stop --kill\n' "$host" "$patience" >&2
    return 1
  fi
}

follow() {
  [[ -f "$job/log" ]] || fail "no job was started here yet"
  if running; then
    tail --lines=1000 --follow=name --pid="$pid" "$job/log" 2>/dev/null | sed --unbuffered "s/^/$host: /"
  else
    tail --lines=1000 "$job/log" | sed "s/^/$host: /"
  fi
  status
}

trace() {
  local caught
  running || fail "no job runs here"
  # Before training listens, SIGUSR1 would end it: bit 10 of SigCgt says whether it does (man 5 proc).
  caught="$(awk '$1 == "SigCgt:" {print $2}' "/proc/$pid/status")"
  ((16#$caught & 1 << 9)) || fail "the job does not listen for SIGUSR1 (yet); ask again when it trains"
  kill -USR1 "$pid"
}

find_python() {
  local uv="$HOME/.local/bin/uv" candidate
  for candidate in "${IML_PYTHON:-}" python3.11; do
    if [[ -n "$candidate" ]] && command -v "$candidate"; then return; fi
  done
  # Ubuntu 22.04, which the TPU images are, has Python 3.10 (and of 3.11 a release candidate).
  [[ -x "$uv" ]] || curl --proto '=https' --fail --silent --show-error --location https://astral.sh/uv/install.sh | sh >&2
  "$uv" python install 3.11 >&2
  "$uv" python find 3.11
}

mount_storage() {
  local storage="$1" mount="$2" bucket folder only=()
  if mountpoint --quiet "$mount"; then return; fi
  sudo mkdir -p "$mount"
  sudo chown "$(id -u):$(id -g)" "$mount"
  if [[ "$storage" != gs://* ]]; then
    command -v mount.nfs >/dev/null || { sudo apt-get update --quiet && sudo apt-get install --quiet --yes nfs-common; }
    sudo mount -t nfs -o hard,noatime "$storage" "$mount"
    return
  fi
  command -v gcsfuse >/dev/null || install_gcsfuse
  bucket="${storage#gs://}"
  folder="${bucket#*/}" bucket="${bucket%%/*}"
  if [[ "$folder" != "$bucket" && -n "${folder%/}" ]]; then only=("--only-dir=${folder%/}"); fi
  # No metadata caches: a worker must see at once what another wrote (gcsfuse docs/semantics.md).
  # rename-dir-limit: Orbax commits by renaming a folder; gcsfuse refuses that in buckets without a
  # hierarchical namespace unless told how many files are bearable.
  gcsfuse --implicit-dirs --rename-dir-limit=200000 --metadata-cache-ttl-secs=0 \
    --metadata-cache-negative-ttl-secs=0 "${only[@]}" "$bucket" "$mount"
}

# cloud.google.com/storage/docs/cloud-storage-fuse/install
install_gcsfuse() {
  local key=/usr/share/keyrings/cloud.google.asc list=/etc/apt/sources.list.d/gcsfuse.list
  curl --fail --silent --show-error https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee "$key" >/dev/null
  echo "deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -c -s) main" |
    sudo tee "$list" >/dev/null
  sudo apt-get update --quiet
  sudo apt-get install --quiet --yes gcsfuse
}

setup() {
  [[ $# == 3 ]] || fail "setup STORAGE MOUNT COPY (STORAGE and COPY may be empty)"
  if running; then fail "a job runs (process $pid); stop it first: tpu.sh stop"; fi
  # A substitution inside an assignment of its own, so that its failure ends the script.
  IML_PYTHON="$(find_python)"
  export IML_PYTHON
  # setup.sh installs the whole lock, libtpu included; it is done in a moment where nothing changed.
  # shellcheck source=/dev/null
  (source "$repository/scripts/setup.sh")
  [[ -z "$1" ]] || mount_storage "$1" "$2"
  if [[ -n "$3" ]]; then
    [[ -d "$2/$3" ]] || fail "COPY=$3: $1 holds no such folder"
    mkdir -p "$local_folder/$3"
    cp --recursive --update "$2/$3/." "$local_folder/$3/"
  fi
  printf 'worker %s: ready, commit %s\n' "$host" "$(git -C "$repository" rev-parse --short HEAD)"
}

command="${1:-}"
[[ $# == 0 ]] || shift
case "$command" in
  setup | start | status | stop | follow | trace | keep) "$command" "$@" ;;
  idle) if running; then fail "a job runs (process $pid); stop it first: tpu.sh stop"; fi ;;
  *) fail "setup, start, status, follow, stop, trace or idle, not '$command'" ;;
esac
