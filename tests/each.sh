#!/bin/sh
# Run every command that is given, whichever of them fail; then say how each ended, and fail if one did.
status=0
summary=
for command in "$@"; do
  printf '%s\n' "$command"
  sh -c "$command" && ended=passed || { ended="FAILED with $?"; status=1; }
  summary="$summary$ended: $command
"
done
printf '\n%s' "$summary"
exit $status
