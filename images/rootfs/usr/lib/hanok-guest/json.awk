# Flattens JSON: one line "path<TAB>value" for each scalar, with "." between the path's elements and array
# elements counted from 0. Control characters and backslashes in values stay escaped as in JSON, so that a value
# is one line; `printf %b` undoes it. Ends with status 1 when the text is not JSON.
function fail() { bad = 1; exit 1 }
function space() { sub(/^[ \t\r\n]+/, "", s) }
function utf8(c) {
  if (c < 128) return sprintf("%c", c)
  if (c < 2048) return sprintf("%c%c", 192 + int(c / 64), 128 + c % 64)
  return sprintf("%c%c%c", 224 + int(c / 4096), 128 + int(c / 64) % 64, 128 + c % 64)
}
function hex(h,   i, n) {
  h = tolower(h)
  for (i = 1; i <= 4; i++) n = n * 16 + index("0123456789abcdef", substr(h, i, 1)) - 1
  return n
}
function text(   v, out, i, c) {
  if (!match(s, /^"([^"\\]|\\.)*"/)) fail()
  v = substr(s, 2, RLENGTH - 2); s = substr(s, RLENGTH + 1)
  out = ""
  while ((i = index(v, "\\")) > 0) {
    out = out substr(v, 1, i - 1)
    c = substr(v, i + 1, 1)
    if (c == "u") {
      c = hex(substr(v, i + 2, 4))
      out = out (c < 32 ? sprintf("\\0%03o", c) : c == 92 ? "\\\\" : utf8(c))
      i += 4
    } else if (c == "\"" || c == "/") out = out c
    else out = out "\\" c
    v = substr(v, i + 2)
  }
  gsub(/\t/, "\\t", v)
  return out v
}
function walk(path,   c, i, k, sep) {
  space()
  sep = path == "" ? "" : path "."
  c = substr(s, 1, 1)
  if (c == "{") {
    s = substr(s, 2); space()
    if (substr(s, 1, 1) == "}") { s = substr(s, 2); return }
    for (;;) {
      space(); k = text(); space()
      if (substr(s, 1, 1) != ":") fail()
      s = substr(s, 2); walk(sep k); space()
      c = substr(s, 1, 1); s = substr(s, 2)
      if (c == "}") return
      if (c != ",") fail()
    }
  }
  if (c == "[") {
    s = substr(s, 2); space()
    if (substr(s, 1, 1) == "]") { s = substr(s, 2); return }
    for (i = 0; ; i++) {
      walk(sep i); space()
      c = substr(s, 1, 1); s = substr(s, 2)
      if (c == "]") return
      if (c != ",") fail()
    }
  }
  if (c == "\"") { k = text(); print path "\t" k; return }
  if (!match(s, /^[-+.0-9A-Za-z]+/)) fail()
  print path "\t" substr(s, 1, RLENGTH)
  s = substr(s, RLENGTH + 1)
}
{ s = s $0 "\n" }
END { if (!bad) { walk(""); space(); if (s != "") exit 1 } else exit 1 }
