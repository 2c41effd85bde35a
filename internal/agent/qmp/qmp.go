// Package qmp speaks QEMU's machine protocol with one process over its socket. It knows messages, not
// what they mean: which commands exist, and what a guest is, is the guest driver's business. The peer is a process
// that a tenant's guest may have taken over: its messages are bounded and checked.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one message of QEMU. The longest seen, query-qmp-schema, has 250 kB.
const maxMessage = 4 << 20

// Event is something that QEMU tells unasked.
type Event struct {
	Name string
	Data json.RawMessage
	// Seconds and Microseconds are QEMU's clock.
	Seconds, Microseconds int64
}

// Error is QEMU's refusal of a command.
type Error struct {
	Command string
	Class   string // GenericError, CommandNotFound, DeviceNotFound, …
	Desc    string
}

func (e *Error) Error() string { return fmt.Sprintf("qemu refused %s: %s", e.Command, e.Desc) }

// ErrClosed: the connection has ended, most often because the process has.
var ErrClosed = errors.New("the connection to qemu has ended")

// message is any line that QEMU sends.
type message struct {
	Greeting *json.RawMessage `json:"QMP"`
	Return   *json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
	ID *uint64 `json:"id"`
}

// decode reads one line.
func decode(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("qemu sent what is no QMP message: %w", err)
	}
	kinds := 0
	for _, is := range []bool{m.Greeting != nil, m.Return != nil, m.Error != nil, m.Event != ""} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return m, errors.New("qemu sent a message that is not one of greeting, return, error and event")
	}
	return m, nil
}

// Client is a connection. Its methods may be called from several goroutines.
type Client struct {
	conn  net.Conn
	event func(Event)
	done  chan struct{}

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan message
	err     error
}

// Dial connects to QEMU's socket and negotiates. It waits for the greeting until ctx ends. event is
// called for each event, in order, from the goroutine that reads; it must not block nor call Do.
func Dial(ctx context.Context, path string, event func(Event)) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("qmp: %w", err)
	}
	c, err := New(ctx, conn, event)
	if err != nil {
		return nil, fmt.Errorf("qmp %s: %w", path, err)
	}
	return c, nil
}

// New negotiates on a connection and takes it over; it is closed after an error.
func New(ctx context.Context, conn net.Conn, event func(Event)) (*Client, error) {
	c := &Client{conn: conn, event: event, done: make(chan struct{}), waiting: map[uint64]chan message{}}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	r := bufio.NewReaderSize(conn, 4096)
	line, err := readLine(r)
	var m message
	if err == nil {
		m, err = decode(line)
	}
	if err == nil && m.Greeting == nil {
		err = errors.New("qemu did not greet")
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	go c.read(r)
	if err := c.Do(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// readLine reads a line of at most maxMessage bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxMessage {
			return nil, errors.New("qemu sent a message that is too long")
		}
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

// read hands out answers and events until the connection ends.
func (c *Client) read(r *bufio.Reader) {
	var failed error
	for failed == nil {
		line, err := readLine(r)
		if err != nil {
			failed = err
			break
		}
		m, err := decode(line)
		switch {
		case err != nil:
			failed = err
		case m.Event != "":
			if c.event != nil {
				c.event(Event{Name: m.Event, Data: m.Data, Seconds: m.Timestamp.Seconds, Microseconds: m.Timestamp.Microseconds})
			}
		case m.ID != nil:
			c.mu.Lock()
			answer := c.waiting[*m.ID]
			delete(c.waiting, *m.ID)
			c.mu.Unlock()
			if answer != nil {
				answer <- m
			}
		case m.Error != nil:
			// QEMU could not even read the command: nothing sensible can follow.
			failed = fmt.Errorf("qemu: %s", m.Error.Desc)
		}
	}
	c.mu.Lock()
	if c.err == nil {
		c.err = ErrClosed
		if !errors.Is(failed, io.EOF) && !errors.Is(failed, net.ErrClosed) {
			c.err = fmt.Errorf("%w: %w", ErrClosed, failed)
		}
	}
	c.mu.Unlock()
	c.conn.Close()
	close(c.done)
}

// Do sends a command and decodes its answer into result, unless that is nil. When ctx ends first the command
// may still be done.
func (c *Client) Do(ctx context.Context, command string, args, result any) error {
	return c.do(ctx, command, args, result, nil)
}

// SendFile gives QEMU a copy of an open file under a name, which a later command's fd argument takes: what QEMU cannot open itself.
func (c *Client) SendFile(ctx context.Context, name string, f *os.File) error {
	return c.do(ctx, "getfd", map[string]any{"fdname": name}, nil, f)
}

func (c *Client) do(ctx context.Context, command string, args, result any, file *os.File) error {
	request := struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{Execute: command, Arguments: args}
	answer := make(chan message, 1)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", command, c.err)
	}
	c.next++
	request.ID = c.next
	line, err := json.Marshal(request)
	if err != nil {
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", command, err)
	}
	c.waiting[request.ID] = answer
	// One command is far smaller than a socket's buffer: the write waits only for a QEMU that has not
	// read for very long, and then not for ever.
	c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	err = c.write(append(line, '\n'), file)
	if err != nil {
		delete(c.waiting, request.ID)
	}
	c.mu.Unlock()
	if err != nil {
		c.conn.Close() // half a command may stand on the line
		return fmt.Errorf("%s: %w: %w", command, ErrClosed, err)
	}
	select {
	case m := <-answer:
		return finish(command, m, result)
	case <-c.done:
		select { // the answer may have come just before the end, as that of quit does
		case m := <-answer:
			return finish(command, m, result)
		default:
			return fmt.Errorf("%s: %w", command, c.Err())
		}
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, request.ID)
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", command, ctx.Err())
	}
}

// write sends a line, and a file with it. c.mu is held.
func (c *Client) write(line []byte, file *os.File) error {
	if file == nil {
		_, err := c.conn.Write(line)
		return err
	}
	conn, ok := c.conn.(*net.UnixConn)
	if !ok {
		return errors.New("files pass through unix sockets only")
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	if err := raw.Control(func(fd uintptr) { _, _, sendErr = conn.WriteMsgUnix(line, unix.UnixRights(int(fd)), nil) }); err != nil {
		return err
	}
	return sendErr
}

func finish(command string, m message, result any) error {
	if m.Error != nil {
		return &Error{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	}
	if result == nil || m.Return == nil {
		return nil
	}
	if err := json.Unmarshal(*m.Return, result); err != nil {
		return fmt.Errorf("%s: qemu's answer: %w", command, err)
	}
	return nil
}

// Done is closed when the connection has ended and every event was delivered.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended; nil while it lasts.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection; the process goes on.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}
