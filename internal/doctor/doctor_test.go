package doctor

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/hanok-cloud/hanok/internal/config"
)

func finding(t *testing.T, fs []Finding, check string) Finding {
	t.Helper()
	for _, f := range fs {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("no finding for %q in %v", check, fs)
	return Finding{}
}

func TestWhatIsMissingIsNamedWithItsRemedy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := config.Default()
	c.API.Listen = []string{l.Addr().String()}
	c.Compute.ReservedMemory = 1 << 40
	fs := Run(context.Background(), Options{Config: c, Root: t.TempDir() + "/", LookPath: func(p string) (string, error) {
		if p == "nft" {
			return "", errors.New("not found")
		}
		return "/usr/bin/" + p, nil
	}})
	for _, want := range []struct {
		check  string
		level  Level
		advice string
	}{
		{"nft", Problem, "apt-get install nftables"},
		{"ip", OK, ""},
		{"KVM", Note, "virtualisation"},
		{"tap devices", Note, "modprobe tun"},
		{"network namespaces", Problem, "CONFIG_NET_NS"},
		{"port " + l.Addr().String(), Problem, "another program listens there"},
		{"memory", Problem, "reserved_host_memory_mb"},
	} {
		f := finding(t, fs, want.check)
		if f.Level != want.level || !strings.Contains(f.Advice, want.advice) {
			t.Errorf("%s: %v %q, want %v …%q…", want.check, f.Level, f.Advice, want.level, want.advice)
		}
	}
	if Worst(fs) != Problem {
		t.Error("the worst finding is a problem")
	}
}

func TestOwnPortIsNoProblem(t *testing.T) {
	c := config.Default()
	fs := Run(context.Background(), Options{Config: c, Running: true})
	if f := finding(t, fs, "port "+c.API.Listen[0]); f.Level != OK {
		t.Error(f)
	}
}
