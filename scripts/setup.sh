# shellcheck shell=bash
# Sourced by quickstart.sh and test.sh: makes .venv once, from requirements.lock, and activates it.
# Needs Python 3.11 (named by IML_PYTHON if it is not on the PATH) and this clone; nothing else.

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
environment="${IML_VENV:-$repository/.venv}"

find_python() {
  local candidate
  for candidate in ${IML_PYTHON:-} python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "setup: no Python 3.11 found on the PATH; install it, or name it: IML_PYTHON=/path/to/python3.11" >&2
  return 2
}

# torch only checks conversions and is the reference of tests, so the CPU build is the one to have: the CUDA
# build brings gigabytes, and its triton crashes in a process that has jaxlib loaded.
install_torch() {
  "${pip[@]}" "torch==2.13.0+cpu" 2>/dev/null && return
  "${pip[@]}" --retries 1 --timeout 15 --extra-index-url https://download.pytorch.org/whl/cpu \
    "torch==2.13.0+cpu" 2>/dev/null && return
  echo "setup: no CPU build of torch found; taking the default build, without triton"
  "${pip[@]}" "torch==2.13.0"
  "$environment/bin/python" -m pip uninstall --quiet --yes triton
}

install() {
  local python stamp wanted package
  local pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check)
  python="$(find_python)" || return
  stamp="$environment/.installed"
  wanted="$(cat "$repository/requirements.lock" "${BASH_SOURCE[0]}" | cksum) $repository"
  package="$(cksum <"$repository/pyproject.toml")" # the settings of tools are there too: it changes more often
  if [[ ! -f "$stamp" || "$(head -n 1 "$stamp")" != "$wanted" ]]; then
    echo "setup: installing into $environment (once; a few minutes)"
    rm -f "$stamp"
    "$python" -m venv --clear "$environment"
    # --no-deps: the lock is complete, and t5's own requirements would break seqio (see the lock's head).
    "${pip[@]}" --no-deps -r "$repository/requirements.lock"
    install_torch
  elif [[ "$(tail -n 1 "$stamp")" == "$package" ]]; then
    return
  fi
  "${pip[@]}" --no-deps --no-build-isolation --editable "$repository"
  printf '%s\n%s\n' "$wanted" "$package" >"$stamp" # last: an interrupted install starts over
}

# Two scripts started at once: the second waits for the first one's install.
mkdir -p "$(dirname "$environment")"
if command -v flock >/dev/null; then
  exec 9>"$environment.lock"
  flock 9
fi
install
if command -v flock >/dev/null; then
  exec 9>&-
fi
export PATH="$environment/bin:$PATH"
