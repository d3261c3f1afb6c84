# shellcheck shell=sh
# What the launch scripts and the quickstarts share: output that may be lost, and a clock that nobody can set.

# The number of a closed descriptor goes to the next file that is opened, and what is printed lands there.
true >&2 || exec 2>/dev/null
{ true >&1; } 2>/dev/null || exec >/dev/null
{ true <&0; } 2>/dev/null || exec </dev/null
# A reader that has gone, as after `| head -n 1`, costs lines, not the job.
trap '' PIPE

# Prints a line, if somebody takes it.
tell() { # WORD…
    printf '%s\n' "$*" 2>/dev/null || :
}

# Sets now, in seconds. Unlike `date`, and SECONDS of bash, this clock does not leap when somebody sets the time.
read_clock() {
    if [ -r /proc/uptime ]; then
        read -r now _ </proc/uptime
        now=${now%.*}
    else
        now=$(date +%s)
    fi
}
