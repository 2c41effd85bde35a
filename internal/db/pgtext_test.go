package db

import "testing"

func TestStorable(t *testing.T) {
	bad := "b\x00\xff"
	in := []any{"a", bad, 7, nil, &bad, []byte{0}}
	out := storable(in)
	if out[0] != "a" || out[1] != "b\uFFFD\uFFFD" || out[2] != 7 || out[3] != nil || out[4] != "b\uFFFD\uFFFD" || in[1] != "b\x00\xff" {
		t.Errorf("%q from %q", out, in)
	}
	if good := []any{"ü"}; &storable(good)[0] != &good[0] {
		t.Error("copied without need")
	}
}
