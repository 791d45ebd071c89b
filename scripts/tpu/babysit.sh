# Sourced by tpu.sh: keeps one job alive on slices that come and go.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # settings and slice facts are set in lib.sh, assume_yes is read in vm.sh

FAILURES=3          # faults in a row (exit 1) that are answered by starting again
LONG_RUN=1800       # seconds; a run that lived longer was not the same fault again
DEAF=10             # polls without an answer from every worker of a ready slice, then it is made anew
UNEVEN=20           # polls with some workers ended and some running, then the rest is killed

# Reads `worker.sh status` lines of all workers on stdin -> one word.
#   none     nothing was started (a new slice)         running  on every worker
#   uneven   here running, there ended                 deaf     a worker did not answer
#   done     exit 0 on all                             mistake  exit 2 on one: starting again cannot help
#   stopped  somebody ran `tpu.sh stop`                saved    exit 143 or lost hosts: start again
#   fault    exit 1 or another                         brief    the same, after less than LONG_RUN seconds
judge() {
  awk -v expected="$1" -v long="$LONG_RUN" '
    $1 != "iml-job" { next }
    {
      delete field
      for (i = 2; i <= NF; i++) { at = index($i, "="); field[substr($i, 1, at - 1)] = substr($i, at + 1) }
      answers++; states[field["state"]]++
      if (field["state"] == "ended") { exits[field["exit"]]++; if (field["exit"] != 143 && field["exit"] != 0) faults++ }
      if (field["asked"] == 1) asked++
      if (field["seconds"] + 0 > lived) lived = field["seconds"] + 0
    }
    END {
      if (answers < expected) print "deaf"
      else if (states["running"] == answers) print "running"
      else if (states["running"]) print "uneven"
      else if (states["none"] == answers) print "none"
      else if (exits[2]) print "mistake"
      else if (exits[0] == answers) print "done"
      else if (asked) print "stopped"
      else if (faults) print (lived >= long ? "fault" : "brief")
      else print "saved"
    }'
}

job_state() {
  local answers
  # The exit status does not count: a worker that is gone makes gcloud fail, and judge sees its silence.
  answers="$(ask_jobs 2>/dev/null || true)"
  judge "$((SLICES * hosts))" <<<"$answers"
}

# begin COMMAND…: installs and starts; what fails here is tried again by the loop.
begin() { install_all && start_all "$@"; }

babysit() {
  local state failures=0 deaf=0 uneven=0 last=""
  assume_yes=1
  # HEAD of now, whatever is committed while the job runs: a run goes on with the code it began with.
  find_commit
  COMMIT="$commit"
  if ((dry_run)); then
    note "where there is no slice:"
    create
    note "where it failed or was preempted:"
    delete
    note "every $POLL s:"
    slice_state >/dev/null
    ask_jobs
    note "on a new slice, after exit 143, after a lost host, and up to $FAILURES times after a fault; never after exit 2:"
    begin "$@"
    return
  fi
  while :; do
    state="$(slice_state)"
    [[ "$state" != ready ]] || state="$(job_state)"
    [[ "$state" == "$last" ]] || say "$(date -u +%FT%TZ) $NAME: $state"
    last="$state"
    [[ "$state" == deaf ]] || deaf=0
    [[ "$state" == uneven ]] || uneven=0
    case "$state" in
      missing) create || true ;;
      broken) delete || true ;;
      none | saved) begin "$@" || say "could not start on $NAME; trying again in $POLL s" ;;
      done)
        say "the job is done; the slices still cost money: tpu.sh delete"
        return 0
        ;;
      stopped)
        say "the job was stopped with tpu.sh stop; its last checkpoint is saved"
        return 0
        ;;
      mistake) fail "the job ended with exit 2, a mistake that starting again cannot fix; read it: tpu.sh follow" ;;
      fault | brief)
        if [[ "$state" == fault ]]; then failures=0; fi
        failures=$((failures + 1))
        if ((failures > FAILURES)); then
          say "the job failed $failures times in a row; read why: tpu.sh follow --worker=all --slice=all"
          return 1
        fi
        begin "$@" || say "could not start on $NAME; trying again in $POLL s"
        ;;
      deaf)
        deaf=$((deaf + 1))
        if ((deaf >= DEAF)); then
          say "a worker of $NAME has not answered $deaf times; making the slices anew"
          delete || true
        fi
        ;;
      uneven)
        uneven=$((uneven + 1))
        if ((uneven >= UNEVEN)); then
          say "some workers ended and the others did not follow; killing them"
          on_job stop "$GRACE" --kill --restart || true
        fi
        ;;
    esac
    sleep "$POLL"
  done
}
