// Command loginload measures what a flood of wrong passwords does to everybody else: it starts an identity service of its own with strong
// hashes, lets clients log in with wrong passwords as fast as they are answered, and reports how long validations of tokens take meanwhile.
//
//	go run ./test/loginload -clients 50 -time 20s
//
// The service runs in a process of its own, as it does in real life. It knows the public API and the constructor of the service alone.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity"
)

type flags struct {
	serve      bool
	database   string
	cost       int
	clients    int
	validators int
	pace       time.Duration
	time       time.Duration
}

func main() {
	var f flags
	flag.BoolVar(&f.serve, "serve", false, "be the service (the program starts itself so)")
	flag.StringVar(&f.database, "database", "sqlite::memory:", "database URL")
	flag.IntVar(&f.cost, "cost", 12, "bcrypt cost")
	flag.IntVar(&f.clients, "clients", 50, "clients with wrong passwords")
	flag.IntVar(&f.validators, "validators", 4, "clients that validate tokens")
	flag.DurationVar(&f.pace, "pace", 5*time.Millisecond, "pause of a validator between two requests")
	flag.DurationVar(&f.time, "time", 20*time.Second, "how long to measure")
	flag.Parse()
	run := load
	if f.serve {
		run = serve
	}
	if err := run(f); err != nil {
		fmt.Fprintln(os.Stderr, "loginload:", err)
		os.Exit(1)
	}
}

// serve prints its address and serves until its input ends.
func serve(f flags) error {
	ctx := context.Background()
	d, err := db.Open(ctx, db.Options{URL: f.database})
	if err != nil {
		return err
	}
	defer d.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	s, err := identity.New(identity.Options{DB: d, KEK: make([]byte, 32), PublicEndpoint: url, BcryptCost: f.cost})
	if err != nil {
		return err
	}
	if _, err := s.Bootstrap(ctx, "secret"); err != nil {
		return err
	}
	go func() {
		srv := &http.Server{Handler: api.NewServer(api.Options{Services: []*api.Service{s.API()}, Auth: s, PublicEndpoint: url}), ReadHeaderTimeout: time.Minute}
		fmt.Fprintln(os.Stderr, srv.Serve(l))
	}()
	fmt.Println(url)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// service is the child process.
type service struct {
	cmd  *exec.Cmd
	stop io.Closer
	url  string
}

func start() (*service, error) {
	cmd := exec.Command(os.Args[0], append(os.Args[1:], "-serve")...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	return &service{cmd, in, strings.TrimSpace(line) + "/identity/v3/auth/tokens"}, err
}

func (s *service) end() (cpu time.Duration, err error) {
	_ = s.stop.Close()
	err = s.cmd.Wait()
	u, ok := s.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

func body(user, password string) string {
	scope := ""
	if user == "admin" {
		scope = `,"scope":{"project":{"name":"admin","domain":{"id":"default"}}}`
	}
	return `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"` + user + `","domain":{"id":"default"},"password":"` + password + `"}}}` + scope + `}}`
}

// login answers with the status and the token.
func (s *service) login(c *http.Client, user, password string) (int, string, error) {
	r, err := c.Post(s.url, "application/json", strings.NewReader(body(user, password)))
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, r.Header.Get("X-Subject-Token"), err
}

// probe compares how long logins of somebody who is not there and wrong passwords of somebody who is take: nobody must see a difference.
func probe(s *service, c *http.Client) error {
	times := map[string][]time.Duration{}
	for range 15 {
		for _, user := range []string{"admin", "nobody"} {
			begin := time.Now()
			if code, _, err := s.login(c, user, "wrong"); err != nil || code != http.StatusUnauthorized {
				return fmt.Errorf("a wrong password of %s was answered with %d: %w", user, code, err)
			}
			times[user] = append(times[user], time.Since(begin))
		}
	}
	for _, user := range []string{"admin", "nobody"} {
		slices.Sort(times[user])
		fmt.Printf("wrong password of %-6s: median %v, shortest %v\n", user, times[user][len(times[user])/2].Round(time.Millisecond), times[user][0].Round(time.Millisecond))
	}
	return nil
}

// elsewhere is a client with another address.
func elsewhere() *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}, Timeout: 2 * time.Minute}
}

// makeUser makes a user who has not logged in yet.
func (s *service) makeUser(c *http.Client, token, name string) error {
	q, err := http.NewRequest(http.MethodPost, strings.TrimSuffix(s.url, "/auth/tokens")+"/users", strings.NewReader(`{"user":{"name":"`+name+`","password":"right"}}`))
	if err != nil {
		return err
	}
	q.Header.Set("X-Auth-Token", token)
	r, err := c.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusCreated {
		return fmt.Errorf("making a user was answered with %d", r.StatusCode)
	}
	return nil
}

func (s *service) validate(c *http.Client, token string) (int, error) {
	q, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		return 0, err
	}
	q.Header.Set("X-Auth-Token", token)
	q.Header.Set("X-Subject-Token", token)
	r, err := c.Do(q)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, err
}

func load(f flags) error {
	s, err := start()
	if err != nil {
		return err
	}
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: f.clients + f.validators}, Timeout: 2 * time.Minute}
	_, token, err := s.login(c, "admin", "secret")
	if err != nil || token == "" {
		return fmt.Errorf("no token: %w", err)
	}
	for _, n := range []int{0, f.clients} {
		if err := s.makeUser(c, token, fmt.Sprintf("honest-%d", n)); err != nil {
			return err
		}
	}
	quiet, err := measure(f, s, c, token, 0)
	if err != nil {
		return err
	}
	if err := probe(s, c); err != nil {
		return err
	}
	flood, err := measure(f, s, c, token, f.clients)
	if err != nil {
		return err
	}
	fmt.Printf("without the flood:            %s\n", quiet)
	fmt.Printf("with %3d wrong-password clients: %s\n", f.clients, flood)
	cpu, err := s.end()
	fmt.Printf("the service used %.1f s of processor time\n", cpu.Seconds())
	return err
}

// result is what was seen in one run.
type result struct {
	times         []time.Duration
	refused, busy int64
	good          time.Duration // how long an honest login took meanwhile
}

func (r result) String() string {
	at := func(share float64) time.Duration {
		if len(r.times) == 0 {
			return 0
		}
		return r.times[min(len(r.times)-1, int(share*float64(len(r.times))))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%6d validations, p50 %v, p99 %v, p99.9 %v, longest %v; %d logins refused, %d put off; the right password took %v", len(r.times), at(0.5), at(0.99), at(0.999), at(1),
		r.refused, r.busy, r.good.Round(time.Millisecond))
}

func measure(f flags, s *service, c *http.Client, token string, clients int) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), f.time)
	defer cancel()
	var done sync.WaitGroup
	var refused, busy atomic.Int64
	var mu sync.Mutex
	var out result
	var failure error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if failure == nil {
			failure = err
		}
		cancel()
	}
	for i := range clients {
		done.Go(func() {
			for ctx.Err() == nil {
				code, _, err := s.login(c, fmt.Sprintf("nobody-%d", i), "wrong")
				switch {
				case err != nil:
					fail(err)
				case code == http.StatusUnauthorized:
					refused.Add(1)
				case code == http.StatusServiceUnavailable:
					busy.Add(1)
				default:
					fail(fmt.Errorf("a wrong password was answered with %d", code))
				}
			}
		})
	}
	for range f.validators {
		done.Go(func() {
			var times []time.Duration
			for ctx.Err() == nil {
				start := time.Now()
				code, err := s.validate(c, token)
				times = append(times, time.Since(start))
				if err != nil || code != http.StatusOK {
					fail(fmt.Errorf("a validation was answered with %d: %w", code, err))
				}
				time.Sleep(f.pace)
			}
			mu.Lock()
			defer mu.Unlock()
			out.times = append(out.times, times...)
		})
	}
	<-time.After(f.time / 4)
	begin := time.Now()
	// A right password that is not remembered, from another address.
	if code, _, err := s.login(elsewhere(), fmt.Sprintf("honest-%d", clients), "right"); err != nil || code != http.StatusCreated {
		fail(fmt.Errorf("the right password was answered with %d: %w", code, err))
	}
	out.good = time.Since(begin)
	done.Wait()
	slices.Sort(out.times)
	out.refused, out.busy = refused.Load(), busy.Load()
	return out, failure
}
