package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func readJournal(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	j, err := openJournal(dir, func(k string, v json.RawMessage) error { got[k] = string(v); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	return got
}

func openEmpty(t *testing.T, dir string) *journal {
	t.Helper()
	j, err := openJournal(dir, func(string, json.RawMessage) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func mustPut(t *testing.T, key string, v any) entry {
	t.Helper()
	e, err := put(key, v)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestJournalCutAnywhere cuts the file after each of its bytes, as a power cut does: what is read back is a
// prefix of what was appended, holds all that append acknowledged, and can be appended to.
func TestJournalCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	j := openEmpty(t, dir)
	state := map[string]string{}
	var states []map[string]string // after each entry
	var ends []int64
	states, ends = append(states, maps.Clone(state)), append(ends, 0)
	for i := range 12 {
		e := mustPut(t, fmt.Sprintf("guest/%d", i%4), map[string]int{"n": i})
		state[e.Key] = string(e.Value)
		if i%5 == 4 {
			e.Value = nil
			delete(state, e.Key)
		}
		if err := j.append(e); err != nil {
			t.Fatal(err)
		}
		states, ends = append(states, maps.Clone(state)), append(ends, j.size)
	}
	j.close()
	whole, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut <= len(whole); cut++ {
		crashed := t.TempDir()
		if err := os.WriteFile(filepath.Join(crashed, journalName), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		// A compaction that was cut off at the same time.
		if err := os.WriteFile(filepath.Join(crashed, journalName+".new"), whole[cut/2:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		n := 0
		for n+1 < len(ends) && ends[n+1] <= int64(cut) {
			n++
		}
		if diff := cmp.Diff(states[n], readJournal(t, crashed)); diff != "" {
			t.Fatalf("cut after %d bytes: %s", cut, diff)
		}
		j := openEmpty(t, crashed)
		if err := j.append(mustPut(t, "after", 1)); err != nil {
			t.Fatal(err)
		}
		j.close()
		want := maps.Clone(states[n])
		want["after"] = "1"
		if diff := cmp.Diff(want, readJournal(t, crashed)); diff != "" {
			t.Fatalf("appended after a cut at %d: %s", cut, diff)
		}
	}
}

func TestJournalFlippedByte(t *testing.T) {
	dir := t.TempDir()
	j := openEmpty(t, dir)
	if err := j.append(mustPut(t, "a", 1), mustPut(t, "b", 2)); err != nil {
		t.Fatal(err)
	}
	j.close()
	path := filepath.Join(dir, journalName)
	whole, _ := os.ReadFile(path)
	whole[len(whole)-3] ^= 1
	os.WriteFile(path, whole, 0o600)
	if diff := cmp.Diff(map[string]string{"a": "1"}, readJournal(t, dir)); diff != "" {
		t.Fatal(diff)
	}
}

func TestJournalCompacts(t *testing.T) {
	dir := t.TempDir()
	j := openEmpty(t, dir)
	big := strings.Repeat("x", 64<<10)
	for i := range 200 {
		if err := j.append(mustPut(t, "guest/1", big+fmt.Sprint(i)), mustPut(t, fmt.Sprintf("small/%d", i%3), i)); err != nil {
			t.Fatal(err)
		}
	}
	if j.size > 2*compactAbove {
		t.Errorf("the file has %d bytes for %d live ones", j.size, j.liveSize)
	}
	j.close()
	got := readJournal(t, dir)
	want := map[string]string{"guest/1": `"` + big + `199"`, "small/0": "198", "small/1": "199", "small/2": "197"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff[:min(len(diff), 500)])
	}
}

func TestJournalConcurrent(t *testing.T) {
	dir := t.TempDir()
	j := openEmpty(t, dir)
	var wg sync.WaitGroup
	want := map[string]string{}
	for i := range 50 {
		key := fmt.Sprint("k", i)
		want[key] = "9"
		wg.Go(func() {
			for n := range 10 {
				if err := j.append(entry{Key: key, Value: json.RawMessage(fmt.Sprint(n))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	j.close()
	if diff := cmp.Diff(want, readJournal(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestJournalHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	j := openEmpty(t, dir)
	defer j.close()
	if _, err := openJournal(dir, nil); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Fatalf("a second agent got the journal: %v", err)
	}
}
