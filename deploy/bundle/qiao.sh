#!/bin/sh
# qiao: starts the program with the Node that lies beside it, and no other. Shell builtins only, so that it runs with an empty PATH.
set -u

self=$0
# Only for a symbolic link to this file: builtins cannot read one, so readlink is asked.
while [ -h "$self" ]; do
  if ! command -v readlink >/dev/null 2>&1; then
    printf '%s\n' "error: $self is a link and there is no readlink on the PATH; call qiao by its real path" >&2
    exit 1
  fi
  target=$(readlink "$self")
  case $target in
    /*) self=$target ;;
    *) self=${self%/*}/$target ;;
  esac
done
case $self in
  */*) here=${self%/*} ;;
  *) here=. ;;
esac

# Options meant for another Node of this machine must not change this one.
unset NODE_OPTIONS NODE_PATH
# Memory stays small on a front-end machine: V8 would give its young generation 16 MiB a half, glibc an arena to every thread.
export MALLOC_ARENA_MAX=2
# Hub and monitor pass bodies on and keep few objects: a smaller young generation lets go of bodies sooner.
case ${1:-} in
  hub | monitor) young=1 ;;
  *) young=4 ;;
esac
# Garbage is collected at once and by one thread: bodies of some megabytes call for it often, the heap beside them is small, and helping
# threads cost two cores more than they save (a sixth of all processor time of a load). It is collected, too, before the heap is much more than twice
# what it holds: by itself V8 lets it grow to three times that under a stream of changes.
exec "$here/runtime/node" --max-semi-space-size=$young --single-threaded-gc --no-incremental-marking --heap-growing-percent=120 --disable-warning=ExperimentalWarning "$here/lib/qiao.mjs" "$@"
