package placement_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/db/dbtest"
	"github.com/hanok-cloud/hanok/internal/placement"
)

func write(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Write(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, d *db.DB, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Read(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func node(vcpus, mb int64) map[string]placement.Inventory {
	return map[string]placement.Inventory{
		"VCPU":      {Total: vcpus, AllocationRatio: 4},
		"MEMORY_MB": {Total: mb, Reserved: 512},
		"DISK_GB":   {Total: 100},
	}
}

func ensure(t testing.TB, d *db.DB, name string, inv map[string]placement.Inventory, traits ...string) string {
	t.Helper()
	var uuid string
	write(t, d, func(tx *db.Tx) (err error) {
		uuid, err = placement.EnsureProvider(tx, name, inv, traits)
		return err
	})
	return uuid
}

func candidates(t testing.TB, d *db.DB, req placement.Request) ([]string, placement.Rejections) {
	t.Helper()
	var names []string
	var rej placement.Rejections
	read(t, d, func(tx *db.Tx) error {
		cs, r, err := placement.Candidates(tx, req)
		names = nil
		for _, c := range cs {
			names = append(names, c.Name)
		}
		rej = r
		return err
	})
	return names, rej
}

// checkUsed asserts that every inventory's used is the sum of its allocations.
func checkUsed(t testing.TB, d *db.DB) {
	t.Helper()
	read(t, d, func(tx *db.Tx) error {
		return tx.Each(func(r db.Row) error {
			var p, c string
			var used, sum int64
			if err := r.Scan(&p, &c, &used, &sum); err != nil {
				return err
			}
			t.Errorf("inventory %s of %s: used %d, allocations %d", c, p, used, sum)
			return nil
		}, `SELECT i.provider_uuid, i.resource_class, i.used, coalesce((SELECT sum(a.used) FROM placement_allocations a
			WHERE a.provider_uuid = i.provider_uuid AND a.resource_class = i.resource_class), 0) AS held
			FROM placement_inventories i WHERE i.used <> coalesce((SELECT sum(a.used) FROM placement_allocations a
			WHERE a.provider_uuid = i.provider_uuid AND a.resource_class = i.resource_class), 0)`)
	})
}

func TestCandidatesAndWhyNot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		small := map[string]int64{"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
		if names, rej := candidates(t, d, placement.Request{Resources: small}); names != nil || rej.String() != "no host has registered its resources" {
			t.Errorf("empty: %v %s", names, rej)
		}
		a := ensure(t, d, "node-a", node(2, 4096), "HW_CPU_X86_AVX2")
		b := ensure(t, d, "node-b", node(8, 16384))
		ensure(t, d, "pool", map[string]placement.Inventory{"DISK_GB": {Total: 1000}})
		for _, c := range []struct {
			req   placement.Request
			names []string
			why   string
		}{
			{req: placement.Request{Resources: small}, names: []string{"node-b", "node-a"}},
			{req: placement.Request{Resources: small, Limit: 1}, names: []string{"node-b"}},
			{req: placement.Request{Resources: small, Required: [][]string{{"HW_CPU_X86_AVX", "HW_CPU_X86_AVX2"}}}, names: []string{"node-a"}},
			{req: placement.Request{Resources: small, Forbidden: []string{"HW_CPU_X86_AVX2"}}, names: []string{"node-b"}},
			{req: placement.Request{Resources: small, Providers: []string{a}}, names: []string{"node-a"}},
			{req: placement.Request{Resources: map[string]int64{"VCPU": 9, "MEMORY_MB": 1024}},
				why: "of 2 hosts, VCPU: 9 turned down 2; nearest: node-a gives VCPU only in amounts of 1 to 2 in steps of 1"},
			{req: placement.Request{Resources: map[string]int64{"VCPU": 4, "MEMORY_MB": 16000}},
				why: "of 2 hosts, MEMORY_MB: 16000 turned down 2, VCPU: 4 turned down 1; nearest: node-b has 15872 of 16000 MEMORY_MB free"},
			{req: placement.Request{Resources: small, Required: [][]string{{"CUSTOM_GPU"}}, Forbidden: []string{"HW_CPU_X86_AVX2"}},
				why: "of 3 hosts, MEMORY_MB: 512 turned down 1, VCPU: 1 turned down 1, trait CUSTOM_GPU turned down 3, forbidden trait HW_CPU_X86_AVX2 turned down 1; nearest: node-b lacks trait CUSTOM_GPU"},
			{req: placement.Request{Resources: small, MemberOf: [][]string{{"agg"}}, Providers: []string{b}},
				why: "of 1 host, aggregate agg turned down 1; nearest: node-b lacks aggregate agg"},
		} {
			names, rej := candidates(t, d, c.req)
			if diff := cmp.Diff(c.names, names); diff != "" {
				t.Errorf("%+v: %s", c.req, diff)
			}
			if c.why != "" && rej.String() != c.why {
				t.Errorf("%+v:\ngot  %s\nwant %s", c.req, rej, c.why)
			}
		}
	})
}

func TestAllocateIsGuarded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a := ensure(t, d, "a", map[string]placement.Inventory{"VCPU": {Total: 10, MaxUnit: 4}})
		alloc := func(consumer string, n int64) error {
			return d.Write(context.Background(), func(tx *db.Tx) error {
				return placement.Allocate(tx, consumer, "p", "u", map[string]map[string]int64{a: {"VCPU": n}})
			})
		}
		var ce *placement.CapacityError
		if err := alloc("c", 5); !errors.Is(err, placement.ErrNoCapacity) || !errors.As(err, &ce) || ce.Reason != placement.OutOfLimits {
			t.Errorf("more than max_unit: %v", err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for i := range 12 {
			wg.Go(func() {
				err := alloc(fmt.Sprint("c", i), 2)
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, placement.ErrNoCapacity) {
					refused++
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if refused != 7 {
			t.Errorf("10 VCPUs hold 5 allocations of 2, but %d of 12 were refused", refused)
		}
		checkUsed(t, d)
		read(t, d, func(tx *db.Tx) error {
			s, err := placement.Stocks(tx, a)
			if s[a]["VCPU"].Used != 10 || s[a]["VCPU"].Free() != 0 {
				t.Errorf("stock: %+v", s)
			}
			return err
		})
		// What a consumer holds counts as free for itself.
		for i := range 12 {
			err := alloc(fmt.Sprint("c", i), 1)
			if err != nil && !errors.Is(err, placement.ErrNoCapacity) {
				t.Fatal(err)
			}
		}
		for i := range 12 {
			write(t, d, func(tx *db.Tx) error { return placement.Deallocate(tx, fmt.Sprint("c", i)) })
		}
		checkUsed(t, d)
		read(t, d, func(tx *db.Tx) error {
			n, err := db.One(tx, db.Value[int64], `SELECT count(*) + (SELECT count(*) FROM placement_consumers) FROM placement_allocations`)
			if n != 0 {
				t.Errorf("%d rows are left", n)
			}
			return err
		})
		if err := alloc("again", 4); err != nil {
			t.Error(err)
		}
	})
}

func TestEnsureProviderKeepsWhatIsInUse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		a := ensure(t, d, "a", node(2, 4096), "HW_CPU_X86_AVX2", "CUSTOM_FAST")
		generation := func() (g int64) {
			read(t, d, func(tx *db.Tx) (err error) {
				g, err = db.One(tx, db.Value[int64], `SELECT generation FROM placement_providers WHERE uuid = $1`, a)
				return err
			})
			return g
		}
		g := generation()
		if again := ensure(t, d, "a", node(2, 4096), "HW_CPU_X86_AVX2", "CUSTOM_FAST"); again != a || generation() != g {
			t.Errorf("the same again: uuid %s and %s, generation %d and %d", a, again, g, generation())
		}
		write(t, d, func(tx *db.Tx) error {
			return placement.Allocate(tx, "c", "p", "u", map[string]map[string]int64{a: {"DISK_GB": 3}})
		})
		write(t, d, func(tx *db.Tx) error { return placement.SetTrait(tx, a, placement.TraitDisabled, true) })
		ensure(t, d, "a", map[string]placement.Inventory{"VCPU": {Total: 2}})
		read(t, d, func(tx *db.Tx) error {
			s, err := placement.Stocks(tx, a)
			if disk := s[a]["DISK_GB"]; len(s[a]) != 2 || disk.Capacity() != 0 || disk.Used != 3 {
				t.Errorf("a class in use must stay without anything free: %+v", s[a])
			}
			return err
		})
		if names, _ := candidates(t, d, placement.Request{Resources: map[string]int64{"VCPU": 1}, Forbidden: []string{placement.TraitDisabled}}); names != nil {
			t.Error("the disabled mark is lost")
		}
		if names, _ := candidates(t, d, placement.Request{Resources: map[string]int64{"VCPU": 1}, Required: [][]string{{"CUSTOM_FAST"}}}); names == nil {
			t.Error("the custom trait is lost")
		}
		if names, _ := candidates(t, d, placement.Request{Resources: map[string]int64{"VCPU": 1}, Required: [][]string{{"HW_CPU_X86_AVX2"}}}); names != nil {
			t.Error("a trait that the node has lost is still there")
		}
		err := d.Write(context.Background(), func(tx *db.Tx) error { return placement.RemoveProvider(tx, a) })
		if !errors.Is(err, placement.ErrInUse) {
			t.Errorf("removing a provider in use: %v", err)
		}
		write(t, d, func(tx *db.Tx) error {
			if err := placement.Deallocate(tx, "c"); err != nil {
				return err
			}
			return placement.RemoveProvider(tx, a)
		})
		err = d.Write(context.Background(), func(tx *db.Tx) error {
			_, err := placement.EnsureProvider(tx, "b", nil, []string{"NO_SUCH"})
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "NO_SUCH") {
			t.Errorf("unknown trait: %v", err)
		}
	})
}

func BenchmarkCandidates1000(b *testing.B) {
	d := dbtest.Memory(b)
	write(b, d, func(tx *db.Tx) error {
		for i := range 1000 {
			if _, err := placement.EnsureProvider(tx, fmt.Sprintf("node-%04d", i), node(8, int64(8192+i)), []string{"HW_CPU_X86_AVX2"}); err != nil {
				return err
			}
		}
		return nil
	})
	small := map[string]int64{"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
	for name, req := range map[string]placement.Request{
		"all":   {Resources: small},
		"ten":   {Resources: small, Limit: 10},
		"trait": {Resources: small, Limit: 10, Required: [][]string{{"HW_CPU_X86_AVX2"}}},
		"none":  {Resources: map[string]int64{"VCPU": 1, "MEMORY_MB": 1 << 20, "DISK_GB": 1}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				read(b, d, func(tx *db.Tx) error {
					_, _, err := placement.Candidates(tx, req)
					return err
				})
			}
		})
	}
}
