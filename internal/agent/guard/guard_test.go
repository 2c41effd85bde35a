package guard

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestConnectionsOfOneGuest: one address holds so many connections and no more, and gets room again when it closes one.
func TestConnectionsOfOneGuest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Minute}
	go srv.Serve(Listener(l))
	t.Cleanup(func() { srv.Close() })
	ask := func(from string) (net.Conn, bool) {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Minute}
		c, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return c, false
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		return c, err == nil && strings.Contains(line, "200")
	}
	var first net.Conn
	for i := range MaxConnections {
		c, ok := ask("127.0.0.2")
		if !ok {
			t.Fatalf("connection %d is refused", i)
		}
		if first == nil {
			first = c
		}
	}
	if _, ok := ask("127.0.0.2"); ok {
		t.Error("one connection too many is answered")
	}
	if _, ok := ask("127.0.0.3"); !ok {
		t.Error("another guest suffers")
	}
	first.Close()
	for limit := time.Now().Add(time.Minute); ; { // the server sees the end in its own time
		if _, ok := ask("127.0.0.2"); ok {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("a closed connection still counts")
		}
	}
}
