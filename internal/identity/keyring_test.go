package identity

import (
	"slices"
	"testing"
)

// Two readings of the keys may end in another order than they began. The older one must not bring back a time before the newest key: tokens of that
// key would be unknown, until something else changes.
func TestKeyringNeverGoesBack(t *testing.T) {
	ring := &keyring{}
	before, after := &keySet{ids: []string{"a"}, made: 1}, &keySet{ids: []string{"b", "a"}, made: 2}
	for _, set := range []*keySet{before, after, before} {
		ring.hold(set)
	}
	if got := ring.held.Load().ids; !slices.Equal(got, after.ids) {
		t.Errorf("after a late reading the keys are %v", got)
	}
	fewer := &keySet{ids: []string{"b"}, made: 2} // the old one was dropped
	if ring.hold(fewer); !slices.Equal(ring.held.Load().ids, fewer.ids) {
		t.Error("a key that was dropped is held still")
	}
}
