package netns_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/agent/netns/nettest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// links names the links that the calling thread sees.
func links(t *testing.T) string {
	all, err := netlink.LinkList()
	must(t, err)
	var names []string
	for _, l := range all {
		names = append(names, l.Attrs().Name)
	}
	return strings.Join(names, " ")
}

func TestNamed(t *testing.T) {
	dir := nettest.New(t).Node("a").Dir
	if _, err := dir.Open("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening what is not there: %v", err)
	}
	first, err := dir.Ensure("x")
	must(t, err)
	defer first.Close()
	again, err := dir.Ensure("x")
	must(t, err)
	defer again.Close()
	if !first.Same(again) {
		t.Error("a second Ensure makes another namespace")
	}
	var inside string
	must(t, first.Do(func() error { inside = links(t); return nil }))
	if inside != "lo" {
		t.Errorf("links in a new namespace: %s", inside)
	}
	before := links(t)
	broken := errors.New("broken")
	if err := first.Do(func() error { return broken }); err != broken {
		t.Errorf("Do returns %v", err)
	}
	if links(t) != before {
		t.Error("Do leaves the caller elsewhere")
	}
	must(t, dir.Remove("x"))
	must(t, dir.Remove("x"))
	third, err := dir.Ensure("x")
	must(t, err)
	defer third.Close()
	if third.Same(first) {
		t.Error("a removed name leads to the old namespace")
	}
	// What a crash between making the file and mounting the namespace leaves.
	must(t, os.WriteFile(filepath.Join(string(dir), "y"), nil, 0o400))
	y, err := dir.Ensure("y")
	must(t, err)
	y.Close()
	names, err := dir.List()
	must(t, err)
	if strings.Join(names, " ") != "x y" {
		t.Errorf("list %v", names)
	}
}

func TestSysctlAndNft(t *testing.T) {
	ns := nettest.New(t).Namespace()
	must(t, ns.Sysctl("ipv4/ip_forward", "1"))
	if out, err := nettest.Run(ns, "cat", "/proc/sys/net/ipv4/ip_forward"); err != nil || out != "1\n" {
		t.Errorf("ip_forward %q %v", out, err)
	}
	if err := ns.Sysctl("ipv4/no_such_thing", "1"); err == nil {
		t.Error("a sysctl that does not exist is set")
	}
	ctx := context.Background()
	gen, err := ns.NftGeneration()
	must(t, err)
	must(t, ns.Nft(ctx, "add table ip one\n"))
	if err := ns.Nft(ctx, "add table ip two\nadd nonsense\n"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a wrong transaction: %v", err)
	}
	after, err := ns.NftGeneration()
	must(t, err)
	if after == gen {
		t.Error("the generation did not change")
	}
	if out, err := ns.NftList(ctx); err != nil || out != "table ip one {\n}\n" {
		t.Errorf("ruleset %q %v", out, err)
	}
}

// A veth pair is made once, repaired when an end is gone, and its addresses are made exactly as wanted.
func TestVeth(t *testing.T) {
	lab := nettest.New(t)
	a, b := lab.Namespace(), lab.Namespace()
	v := netns.Veth{Name: "near", Peer: "far", In: b, MAC: nettest.MAC("fa:16:3e:00:00:01"), MTU: 1400}
	for i, want := range []bool{true, false} {
		if _, fresh, err := a.EnsureVeth(v); err != nil || fresh != want {
			t.Errorf("time %d: fresh %v %v", i, fresh, err)
		}
	}
	must(t, b.RemoveLink("far"))
	_, fresh, err := a.EnsureVeth(v)
	must(t, err)
	far, err := b.Link("far")
	must(t, err)
	if !fresh || far == nil || far.Attrs().MTU != 1400 || far.Attrs().HardwareAddr.String() != "fa:16:3e:00:00:01" {
		t.Errorf("repaired: %v %+v", fresh, far)
	}
}
