# leaks.sh: sourced. What a test run may not leave on the machine.
leaks_list() (
  set +e +o pipefail # nothing found is no failure
  ip -br link 2>/dev/null | awk '{print "interface", $1}'
  ip netns list 2>/dev/null | awk '{print "namespace", $1}'
  nft list tables 2>/dev/null | sed 's/^/nft /'
  # A dead process that waits for its parent is none: a guest outlives the node that started it, so its parent is the machine's first
  # process, and in a container that one may never ask for it.
  pgrep -a -r D,R,S,T,t,I 'qemu-system|^hanok' 2>/dev/null | cut -c1-100 | sed 's/^/process /'
  ls -d /tmp/hanok-* 2>/dev/null | sed 's/^/file /'
)
leaks_before() { leaks_list | sort > "$1"; leaks_snapshot=$(cat "$1"); }
leaks_after() {
  local now; now=$(leaks_list | sort)
  local left; left=$(comm -13 <(printf '%s\n' "$leaks_snapshot") <(printf '%s\n' "$now") | grep -v '^$' || true)
  [ -z "$left" ] || { echo "left behind:"; echo "$left"; exit 1; }
}
