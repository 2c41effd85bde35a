package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// peer is QEMU's end of a connection under test.
type peer struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

type command struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

func (p *peer) send(format string, args ...any) {
	if _, err := fmt.Fprintf(p, format+"\r\n", args...); err != nil {
		p.t.Error(err)
	}
}

func (p *peer) next() command {
	var c command
	line, err := p.r.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c)
	}
	if err != nil {
		p.t.Error(err)
	}
	return c
}

// connect makes a client and its peer, with the negotiation done.
func connect(t *testing.T, event func(Event)) (*Client, *peer) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := &peer{t, theirs, bufio.NewReader(theirs)}
	negotiated := make(chan struct{})
	go func() {
		p.send(`{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}`)
		c := p.next()
		if c.Execute != "qmp_capabilities" {
			t.Errorf("first command %q", c.Execute)
		}
		p.send(`{"return": {}, "id": %d}`, c.ID)
		close(negotiated)
	}()
	c, err := New(t.Context(), ours, event)
	if err != nil {
		t.Fatal(err)
	}
	<-negotiated
	t.Cleanup(func() { c.Close(); theirs.Close() })
	return c, p
}

func TestDo(t *testing.T) {
	events := make(chan Event, 10)
	c, p := connect(t, func(e Event) { events <- e })
	go func() {
		q := p.next()
		p.send(`{"timestamp": {"seconds": 7, "microseconds": 9}, "event": "RESUME"}`)
		p.send(`{"return": {"status": "running"}, "id": %d}`, q.ID)
		q = p.next()
		if string(q.Arguments) != `{"id":"nic"}` {
			t.Errorf("arguments %s", q.Arguments)
		}
		p.send(`{"id": %d, "error": {"class": "DeviceNotFound", "desc": "Device 'nic' not found"}}`, q.ID)
	}()
	var status struct{ Status string }
	if err := c.Do(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Fatalf("%+v %v", status, err)
	}
	if e := <-events; e.Name != "RESUME" || e.Seconds != 7 {
		t.Errorf("event %+v", e)
	}
	err := c.Do(t.Context(), "device_del", map[string]string{"id": "nic"}, nil)
	var refused *Error
	if !errors.As(err, &refused) || refused.Class != "DeviceNotFound" || !strings.Contains(err.Error(), "device_del: Device 'nic' not found") {
		t.Fatalf("%v", err)
	}
}

// TestAnswersInAnyOrder: with out-of-band execution and after a timeout, answers come in another order.
func TestAnswersInAnyOrder(t *testing.T) {
	c, p := connect(t, nil)
	short, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	go func() {
		first := p.next()
		cancel()
		second := p.next()
		third := p.next()
		p.send(`{"return": 3, "id": %d}`, third.ID)
		p.send(`{"return": 1, "id": %d}`, first.ID) // nobody waits for it any more
		p.send(`{"return": 99, "id": 123456}`)
		p.send(`{"return": 2, "id": %d}`, second.ID)
		close(asked)
	}()
	if err := c.Do(short, "a", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	got := make([]int, 2)
	for i := range got {
		wg.Go(func() {
			if err := c.Do(t.Context(), "b", nil, &got[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	<-asked
	if got[0]+got[1] != 5 {
		t.Errorf("answers %v", got)
	}
}

func TestEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *peer)
		want string
	}{
		{"closed", func(p *peer) { p.Close() }, "ended"},
		{"no JSON", func(p *peer) { p.send("qemu-system-x86_64: warning") }, "no QMP message"},
		{"two things in one message", func(p *peer) { p.send(`{"event": "STOP", "return": {}}`) }, "not one of"},
		{"too long", func(p *peer) {
			piece := strings.Repeat("x", 1<<20)
			for range 5 {
				if _, err := p.Write([]byte(piece)); err != nil {
					return
				}
			}
		}, "too long"},
		{"unreadable command", func(p *peer) {
			p.send(`{"error": {"class": "GenericError", "desc": "JSON parse error, stray 'x'"}}`)
		}, "JSON parse error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, p := connect(t, nil)
			go func() {
				p.next()
				c.end(p)
			}()
			err := client.Do(t.Context(), "query-status", nil, nil)
			if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			<-client.Done()
			if err := client.Do(t.Context(), "cont", nil, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// TestQuit: the answer to the last command counts though the connection ends with it.
func TestQuit(t *testing.T) {
	c, p := connect(t, nil)
	go func() {
		q := p.next()
		p.send(`{"return": {}, "id": %d}`, q.ID)
		p.Close()
	}()
	if err := c.Do(t.Context(), "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
}

func TestNoGreeting(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := New(ctx, ours, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestRealQEMU(t *testing.T) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("qemu-system-x86_64 is not installed")
	}
	path := filepath.Join(t.TempDir(), "qmp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(qemu, "-M", "none", "-nodefaults", "-display", "none", "-S",
		"-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control")
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	f.Close()
	// The process alone owns the socket now: it can be dialled before QEMU is up, and ends with it.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	events := make(chan Event, 100)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := Dial(ctx, path, func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	var version struct{ Qemu struct{ Major int } }
	if err := c.Do(ctx, "query-version", nil, &version); err != nil || version.Qemu.Major == 0 {
		t.Fatalf("%+v %v", version, err)
	}
	var refused *Error
	if err := c.Do(ctx, "no-such-command", nil, nil); !errors.As(err, &refused) || refused.Class != "CommandNotFound" {
		t.Fatal(err)
	}
	if err := c.Do(ctx, "query-qmp-schema", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(ctx, "cont", nil, nil); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Name != "RESUME" {
		t.Errorf("event %+v", e)
	}
	// A second agent takes over after the first has gone.
	c.Close()
	c, err = Dial(ctx, path, func(e Event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(ctx, "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if e := <-events; e.Name != "SHUTDOWN" || !strings.Contains(string(e.Data), "host-qmp-quit") {
		t.Errorf("event %+v %s", e, e.Data)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"QMP": {}}`, `{"return": {}, "id": 1}`, `{"return": null}`, `{"event": "SHUTDOWN", "data": {"guest": true}}`,
		`{"error": {"class": "GenericError", "desc": "x"}, "id": 18446744073709551615}`, `[]`, `{"id": -1}`, `{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err == nil && m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
			t.Fatal("a message of no kind was accepted")
		}
	})
}
