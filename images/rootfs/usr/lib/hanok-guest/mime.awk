# Splits a MIME multipart text into dir/NNN.head and dir/NNN.body.
{ sub(/\r$/, "") }
bound == "" {
  if (match($0, /boundary="?[^";]+/)) { bound = substr($0, RSTART, RLENGTH); sub(/boundary="?/, "", bound) }
  next
}
$0 == "--" bound "--" { exit }
$0 == "--" bound { n++; head = 1; file = sprintf("%s/%03d", dir, n); printf "" > (file ".head"); printf "" > (file ".body"); next }
n == 0 { next }
head && $0 == "" { head = 0; next }
head { print > (file ".head"); next }
{ print > (file ".body") }
