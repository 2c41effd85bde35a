# Common to the guest's own scripts. They run in the static BusyBox: it starts several times faster than a dynamic
# program, and its shell takes its own applets (ip, mount, wget, …) before anything in PATH. Users get the dynamic
# BusyBox's shell, which runs the real programs.
export PATH=/usr/local/bin:/usr/bin
LIB=/usr/lib/hanok-guest   # programs
RUN=/run/hanok-guest       # what is true until the next boot
VAR=/var/lib/hanok-guest   # what is true for this instance

# say puts a line on the console log, the only thing a user sees of a guest that ssh does not reach.
say() { echo "hanok-guest: $*" > /dev/console; }

# value FILE PATH: one scalar of a file flattened by json.awk or yaml.awk, its escapes undone.
value() { printf '%b' "$(awk -F'\t' -v p="$2" '$1 == p { print $2; exit }' "$1")"; }
