package nodehub_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// recorder is a source of guests and counts what it is told.
type recorder struct {
	seen   int
	guests []nodeapi.Guest
}

func (r *recorder) NodeSeen(*db.Tx, nodeapi.Node) error { r.seen++; return nil }

func (r *recorder) Items(*db.Tx, string, int64) (nodehub.Changes, error) {
	return nodehub.Changes{Items: nodeapi.Items{Guests: r.guests}, Full: true}, nil
}

func TestRegistrarsHearOfWhatLasts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r := &recorder{}
		h := nodehub.New(nodehub.Options{DB: d, Registrars: []nodehub.Registrar{r}})
		for i, c := range []struct {
			node nodeapi.Node
			want int
		}{
			{nodeapi.Node{Name: "n", VCPUs: 2, UptimeSeconds: 1}, 1},
			{nodeapi.Node{Name: "n", VCPUs: 2, UptimeSeconds: 11, DiskFreeGiB: 5, LoadAverage: [3]float64{1, 2, 3}}, 1},
			{nodeapi.Node{Name: "n", VCPUs: 4, UptimeSeconds: 21}, 2},
			{nodeapi.Node{Name: "n", VCPUs: 4, BootID: "b"}, 3},
		} {
			if err := h.Heartbeat(context.Background(), c.node); err != nil || r.seen != c.want {
				t.Errorf("heartbeat %d: told %d times, want %d (%v)", i, r.seen, c.want, err)
			}
		}
	})
}

func TestAStreamSendsEverythingThenDifferences(t *testing.T) {
	d := dbtest.Memory(t)
	r := &recorder{guests: []nodeapi.Guest{{ID: "a"}, {ID: "b"}}}
	h := nodehub.New(nodehub.Options{DB: d, Sources: map[string]nodehub.Source{nodehub.Guests: r}})
	var got []nodeapi.Delta
	done := errors.New("done")
	err := h.Watch(t.Context(), "n", func(delta nodeapi.Delta) error {
		got = append(got, delta)
		if len(got) == 2 {
			return done
		}
		r.guests = []nodeapi.Guest{{ID: "a"}, {ID: "b", Generation: 2}}
		return d.Write(context.Background(), func(tx *db.Tx) error {
			nodehub.Wake(tx, "n", nodehub.Guests)
			return nil
		})
	})
	want := []nodeapi.Delta{
		{Generation: 1, Full: true, Set: nodeapi.Items{Guests: []nodeapi.Guest{{ID: "a"}, {ID: "b"}}}},
		{Generation: 2, Set: nodeapi.Items{Guests: []nodeapi.Guest{{ID: "b", Generation: 2}}}},
	}
	if !errors.Is(err, done) || !cmp.Equal(got, want) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
}

func TestCallsWithoutAnAgentSaySo(t *testing.T) {
	h := nodehub.New(nodehub.Options{DB: dbtest.Memory(t)})
	if _, err := h.Call(t.Context(), "n", nodeapi.Call{Method: nodeapi.MethodConsoleLog}); !errors.Is(err, nodehub.ErrNotConnected) {
		t.Error(err)
	}
}
