package dhcp

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/hanok-cloud/hanok/internal/agent/guard"
	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Names are what a network's DNS service answers by itself: its ports' names, with and without the domain,
// and their addresses backwards.
type Names struct {
	domain  string // with final dot
	forward map[string][]netip.Addr
	reverse map[string]string
}

const nameTTL = 60

func newNames(n *nodeapi.Network, domain string) *Names {
	names := &Names{domain: dns.Fqdn(strings.ToLower(domain)), forward: map[string][]netip.Addr{}, reverse: map[string]string{}}
	for _, h := range n.Hosts {
		if h.Hostname == "" {
			continue
		}
		short := strings.ToLower(strings.TrimSuffix(h.Hostname, "."))
		full := dns.Fqdn(short)
		if names.domain != "." {
			full = dns.Fqdn(short + "." + strings.TrimSuffix(names.domain, "."))
		}
		for _, f := range h.FixedIPs {
			a, err := netip.ParseAddr(f.IP)
			if err != nil {
				continue
			}
			names.forward[dns.Fqdn(short)] = append(names.forward[dns.Fqdn(short)], a)
			if full != dns.Fqdn(short) {
				names.forward[full] = append(names.forward[full], a)
			}
			if r, err := dns.ReverseAddr(f.IP); err == nil {
				names.reverse[r] = full
			}
		}
	}
	return names
}

// Answer answers a question from the network's names; own is false when somebody else may know.
func (n *Names) Answer(q dns.Question) (rrs []dns.RR, own bool) {
	name := strings.ToLower(q.Name)
	header := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: q.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: nameTTL}
	}
	if host, ok := n.reverse[name]; ok {
		if q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY {
			rrs = append(rrs, &dns.PTR{Hdr: header(dns.TypePTR), Ptr: host})
		}
		return rrs, true
	}
	addrs, ok := n.forward[name]
	if !ok {
		// A name of the network's domain that no port has exists nowhere.
		return nil, n.domain != "." && (name == n.domain || strings.HasSuffix(name, "."+n.domain))
	}
	for _, a := range addrs {
		switch {
		case a.Is4() && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY):
			rrs = append(rrs, &dns.A{Hdr: header(dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (q.Qtype == dns.TypeAAAA || q.Qtype == dns.TypeANY):
			rrs = append(rrs, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return rrs, true
}

// known tells whether a name exists, for telling "no such name" from "no such record".
func (n *Names) known(name string) bool {
	_, fwd := n.forward[strings.ToLower(name)]
	_, rev := n.reverse[strings.ToLower(name)]
	return fwd || rev
}

// Resolver is a network's DNS service.
type Resolver struct {
	names    atomic.Pointer[Names]
	upstream []string
	node     *netns.NS
	log      *slog.Logger
	servers  []*dns.Server
	asking   chan struct{} // a place for each question under way to upstream
}

// maxAsking is how many questions of one network may be under way to the node's resolvers: each holds a socket of the agent's.
const maxAsking = 64

// ListenDNS starts the service on the addresses, inside the namespace. What it does not know itself it asks
// the node's resolvers, from the node's own namespace.
func ListenDNS(ns, node *netns.NS, addrs []netip.Addr, names *Names, upstream []string, log *slog.Logger) (*Resolver, error) {
	r := &Resolver{upstream: upstream, node: node, log: log, asking: make(chan struct{}, maxAsking)}
	r.names.Store(names)
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, 53).String()
		err := ns.Do(func() error {
			pc, err := net.ListenPacket("udp", at)
			if err != nil {
				return err
			}
			r.servers = append(r.servers, &dns.Server{PacketConn: pc, Handler: r})
			l, err := net.Listen("tcp", at)
			if err != nil {
				return err
			}
			r.servers = append(r.servers, &dns.Server{Listener: guard.Listener(l), Handler: r})
			return nil
		})
		if err != nil {
			for _, s := range r.servers {
				closeUnstarted(s)
			}
			return nil, fmt.Errorf("listen for DNS at %s: %w", at, err)
		}
	}
	for _, s := range r.servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			if err := s.ActivateAndServe(); err != nil {
				log.Warn("DNS stops answering", "error", err)
			}
		}()
		<-started
	}
	return r, nil
}

func closeUnstarted(s *dns.Server) {
	if s.PacketConn != nil {
		s.PacketConn.Close()
	}
	if s.Listener != nil {
		s.Listener.Close()
	}
}

// Update changes the names.
func (r *Resolver) Update(n *Names) { r.names.Store(n) }

// Close stops the service.
func (r *Resolver) Close() {
	for _, s := range r.servers {
		_ = s.Shutdown()
	}
}

// ServeDNS answers one query.
func (r *Resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	_ = w.WriteMsg(r.resolve(q, w.LocalAddr().Network()))
}

func (r *Resolver) resolve(q *dns.Msg, network string) *dns.Msg {
	m := new(dns.Msg)
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return m.SetRcode(q, dns.RcodeRefused)
	}
	names := r.names.Load()
	if rrs, own := names.Answer(q.Question[0]); own {
		m.SetReply(q)
		m.Authoritative, m.RecursionAvailable = true, true
		m.Answer = rrs
		if !names.known(q.Question[0].Name) {
			m.Rcode = dns.RcodeNameError
		}
		if o := q.IsEdns0(); network == "udp" && o != nil {
			m.Truncate(int(max(o.UDPSize(), dns.MinMsgSize)))
		} else if network == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
		return m
	}
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	default:
		return m.SetRcode(q, dns.RcodeServerFailure) // a client asks again
	}
	for _, server := range r.upstream {
		if a, err := r.ask(server, q, network); err == nil {
			a.Id = q.Id
			return a
		}
	}
	if len(r.upstream) == 0 {
		return m.SetRcode(q, dns.RcodeRefused)
	}
	return m.SetRcode(q, dns.RcodeServerFailure)
}

func (r *Resolver) ask(server string, q *dns.Msg, network string) (*dns.Msg, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	c := &dns.Client{Net: network, Timeout: 2 * time.Second}
	var conn *dns.Conn
	if err := r.node.Do(func() (err error) { conn, err = c.Dial(server); return err }); err != nil {
		return nil, err
	}
	defer conn.Close()
	a, _, err := c.ExchangeWithConn(q, conn)
	return a, err
}
