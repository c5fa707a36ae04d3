# Shared by the adapter scripts: where things are, who we are, which processes belong to a home. Sourced, never run.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
postino=${POSTINO_BIN:-$root/target/release/postino}
compat=${POSTINO_COMPAT_BIN:-$root/target/release/postino-compat}
dir=${1:?usage: $(basename "$0") DIR}
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
account=postino

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
as_root() { [ "$(id -u)" = 0 ]; }

# Every process of this home, in this pid namespace: the three parts of the server carry "--home DIR" in their arguments;
# whatever they started is found by its parent. Pid files are not asked: the number may be somebody else's by now.
family() {
  local p parts=() all=() more args
  for p in /proc/[0-9]*; do
    args=$(tr '\0' '\n' 2>/dev/null <"$p/cmdline") || continue
    case $args in
      postino$'\n'serve$'\n'* | postino$'\n'worker$'\n'* | postino$'\n'spawner$'\n'* | postino$'\n'qmail-local-child$'\n'* | "$postino"$'\n'serve$'\n'*)
        case $args$'\n' in *$'\n'--home$'\n'"$dir"$'\n'*) parts+=("${p#/proc/}") ;; esac ;;
    esac
  done
  all=("${parts[@]:-}")
  while [ "${#parts[@]}" -gt 0 ] && [ -n "${parts[0]:-}" ]; do
    more=()
    for p in "${parts[@]}"; do
      for p in $(cat /proc/"$p"/task/*/children 2>/dev/null); do
        case " ${all[*]} " in *" $p "*) ;; *) more+=("$p"); all+=("$p") ;; esac
      done
    done
    parts=("${more[@]:-}")
  done
  printf '%s\n' "${all[@]:-}" | sed '/^$/d' | sort -un
}

# Waits until every process given is gone.
gone() {
  local limit=$1 p; shift
  for _ in $(seq "$limit"); do
    local left=0
    for p in "$@"; do
      # A zombie holds nothing any more, unless threads of it still end.
      case $(sed 's/.*) //' "/proc/$p/stat" 2>/dev/null) in
        '') ;;
        Z*) [ "$(ls "/proc/$p/task" 2>/dev/null | wc -l)" -le 1 ] || left=1 ;;
        *) left=1 ;;
      esac
    done
    [ $left = 0 ] && return 0
    sleep 0.05
  done
  return 1
}
