# Flattens the YAML that people write in #cloud-config: maps and lists by indentation, plain and quoted scalars,
# flow lists of scalars ([a, "b"]), literal and folded blocks (| > with - or +). Output as json.awk's. No anchors,
# tags, flow maps or multi-line plain scalars.
function indent(l) { match(l, /^ */); return RLENGTH }
function escape(v) { gsub(/\\/, "\\\\", v); gsub(/\t/, "\\t", v); gsub(/\n/, "\\n", v); return v }
function scalar(v,   q) {
  sub(/^[ \t]+/, "", v)
  q = substr(v, 1, 1)
  if (q == "\"") {
    if (match(v, /^"([^"\\]|\\.)*"/)) v = substr(v, 2, RLENGTH - 2)
    gsub(/\\"/, "\"", v); gsub(/\t/, "\\t", v)
    return v
  }
  if (q == "'") {
    if (match(v, /^'([^']|'')*'/)) v = substr(v, 2, RLENGTH - 2)
    gsub(/''/, "'", v)
    return escape(v)
  }
  sub(/[ \t]+#.*$/, "", v); sub(/[ \t\r]+$/, "", v)
  return escape(v)
}
function flow(path, v,   i, e) {
  sub(/^\[[ \t]*/, "", v)
  for (i = 0; v != "" && substr(v, 1, 1) != "]"; i++) {
    if (match(v, /^"([^"\\]|\\.)*"/) || match(v, /^'([^']|'')*'/) || match(v, /^[^],]+/)) {
      e = substr(v, 1, RLENGTH); v = substr(v, RLENGTH + 1)
    } else return
    print path "." i "\t" scalar(e)
    sub(/^[ \t]*,?[ \t]*/, "", v)
  }
}
function block(path, style, parent,   ind, out, l, first) {
  ind = -1; first = 1
  while (n < total) {
    l = line[n + 1]
    if (l ~ /^[ \t]*$/) { out = out "\n"; n++; continue }
    if (ind < 0) { ind = indent(l); if (ind <= parent) break }
    if (indent(l) < ind) break
    l = substr(l, ind + 1)
    if (style ~ /^>/) { sub(/\n$/, "", out); out = (first ? out : out " ") l "\n" }
    else out = out l "\n"
    first = 0; n++
  }
  if (style !~ /\+/) sub(/\n+$/, "\n", out)
  if (style ~ /-/) sub(/\n+$/, "", out)
  print path "\t" escape(out)
}
# rest: what stands after "key:" or "- " on the current line; parent: the indentation that children must exceed.
function after(path, rest, parent, inlist) {
  sub(/^[ \t]+/, "", rest)
  if (rest ~ /^[|>][-+0-9]*[ \t]*(#.*)?$/) block(path, rest, parent)
  else if (rest == "" || rest ~ /^#/) node(path, parent, inlist)
  else if (rest ~ /^\[/) flow(path, rest)
  else print path "\t" scalar(rest)
}
# One collection whose lines are indented by more than parent (a list under a key may stand at the key's own depth).
function node(path, parent, inlist,   ind, l, k, i, sep, islist, w) {
  while (n < total && line[n + 1] ~ /^[ \t]*(#.*)?$/) n++
  if (n >= total) return
  ind = indent(line[n + 1])
  if (ind < parent || (ind == parent && (inlist || substr(line[n + 1], ind + 1) !~ /^-( |$)/))) return
  sep = path == "" ? "" : path "."
  islist = substr(line[n + 1], ind + 1) ~ /^-( |$)/
  for (i = 0; n < total; ) {
    l = line[n + 1]
    if (l ~ /^[ \t]*(#.*)?$/) { n++; continue }
    if (indent(l) != ind) return
    l = substr(l, ind + 1)
    # A list at its key's own depth ends where the next key begins.
    if (islist != (l ~ /^-( |$)/)) return
    if (islist) {
      w = indent(substr(l, 2)) + 1
      k = substr(l, w + 1)
      if (iskey(k) || k ~ /^- /) {
        # A map or list that begins on the dash's line: read it as if it stood on a line of its own.
        line[n + 1] = sprintf("%" (ind + w) "s", "") k
        node(sep i, ind, 1)
      } else { n++; after(sep i, k, ind, 1) }
      i++
    } else if (iskey(l)) {
      match(l, KEY)
      k = substr(l, 1, RLENGTH); l = substr(l, RLENGTH + 1)
      sub(/[ \t]*:$/, "", k); gsub(/^["']|["']$/, "", k)
      n++; after(sep k, l, ind, 0)
    } else n++
  }
}
function iskey(l) { return match(l, KEY) && (RLENGTH == length(l) || substr(l, RLENGTH + 1, 1) ~ /[ \t\r]/) }
BEGIN { KEY = "^([A-Za-z0-9_./-]+|\"[^\"]*\"|'[^']*')[ \t]*:" }
{ sub(/\r$/, ""); if ($0 != "---") line[++total] = $0 }
END { node("", -1, 0) }
