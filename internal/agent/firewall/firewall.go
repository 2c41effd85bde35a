package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/hanok-cloud/hanok/internal/agent/netns"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// Firewall holds what the kernel was last told in one network namespace.
type Firewall struct {
	ns     *netns.NS
	log    *slog.Logger
	marks  map[string]uint32 // by port id
	free   []uint32
	next   uint32
	cfg    Config
	pieces map[string]piece
	loaded bool
	genID  uint32 // of the ruleset after our last transaction
}

// New makes a firewall for the namespace; nothing is loaded before the first Apply.
func New(ns *netns.NS, log *slog.Logger) *Firewall {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Firewall{ns: ns, log: log, marks: map[string]uint32{}, next: 1, pieces: map[string]piece{},
		cfg: Config{Networks: map[string]Network{}, Ports: map[string]Port{}, Groups: map[string]*nodeapi.SecurityGroup{}}}
}

// Prepare makes bridged packets visible to the inet family. The settings are per namespace.
func (f *Firewall) Prepare(ctx context.Context) error {
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		// On most distributions br_netfilter is a module.
		if out, err := exec.CommandContext(ctx, "modprobe", "br_netfilter").CombinedOutput(); err != nil {
			return fmt.Errorf("load br_netfilter, without which security groups cannot work: %w: %s", err, out)
		}
	}
	for _, key := range []string{"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"} {
		if err := f.ns.Sysctl(key, "1"); err != nil {
			return err
		}
	}
	return nil
}

// Change is what differs from the last Apply: nil values remove.
type Change struct {
	Networks map[string]*Network
	Ports    map[string]*Port
	Groups   map[string]*nodeapi.SecurityGroup
}

// Apply takes a change over in one transaction. full hands the kernel the whole ruleset, whatever it has;
// that happens by itself the first time and when somebody else changed the ruleset since. Connections
// that the rules no longer allow are cut afterwards.
func (f *Firewall) Apply(ctx context.Context, c Change, full bool) error {
	d := delta{}
	d.init()
	undo := f.snapshot()
	touched := f.update(c, &d)
	err := f.load(ctx, &d, full)
	if err != nil {
		f.restore(undo)
		// What the kernel has now is what it had: nothing of a refused transaction was taken.
		return fmt.Errorf("load firewall rules: %w", err)
	}
	if len(touched.ports)+len(touched.gone) > 0 || full {
		return f.cutFlows(touched)
	}
	return nil
}

type snapshot struct {
	cfg    Config
	pieces map[string]piece
	marks  map[string]uint32
}

// snapshot copies the maps, not what is in them: pieces and items are never changed in place.
func (f *Firewall) snapshot() snapshot {
	return snapshot{
		cfg:    Config{Networks: clone(f.cfg.Networks), Ports: clone(f.cfg.Ports), Groups: clone(f.cfg.Groups)},
		pieces: clone(f.pieces), marks: clone(f.marks),
	}
}

func (f *Firewall) restore(s snapshot) {
	f.cfg, f.pieces, f.marks = s.cfg, s.pieces, s.marks
	f.free, f.next = nil, 1
	for _, m := range f.marks {
		f.next = max(f.next, m&^markMask+1)
	}
	f.loaded = false
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// touched are the ports whose connections must be looked at again, and the addresses that no port has any
// longer.
type touched struct {
	ports map[string]bool
	gone  map[zoneAddr]bool
}

// update changes the configuration, recomputes the pieces that depend on what changed and collects the
// difference.
func (f *Firewall) update(c Change, d *delta) touched {
	t := touched{ports: map[string]bool{}, gone: map[zoneAddr]bool{}}
	stalePorts, staleGroups := map[string]bool{}, map[string]bool{}
	for id, n := range c.Networks {
		if n == nil {
			delete(f.cfg.Networks, id)
			f.replace("network/"+id, piece{}, d)
			continue
		}
		f.cfg.Networks[id] = *n
		f.replace("network/"+id, networkPiece(*n), d)
	}
	f.updateGroups(c, stalePorts, staleGroups, t)
	profiles := map[string][]string{} // possibly unused from now on, or new
	for id, p := range c.Ports {
		if old, ok := f.cfg.Ports[id]; ok {
			f.noteProfile(profiles, old.Groups)
			if p == nil || narrowed(old, *p) {
				t.ports[id] = true
				for _, a := range old.IPs {
					t.gone[zoneAddr{old.Zone, a}] = true
				}
			}
		}
		if p == nil {
			delete(f.cfg.Ports, id)
			f.replace("port/"+id, piece{}, d)
			f.replace("qos/"+id, piece{}, d)
			f.releaseMark(id)
			continue
		}
		f.cfg.Ports[id] = *p
		stalePorts[id] = true
	}
	for id := range staleGroups {
		if g := f.cfg.Groups[id]; g != nil {
			p, errs := groupPiece(g, &f.cfg)
			for _, err := range errs {
				f.log.Warn("a rule is left out: it allows nothing", "error", err)
			}
			f.replace("group/"+id, p, d)
		} else {
			f.replace("group/"+id, piece{}, d)
		}
	}
	for _, id := range sortedKeys(stalePorts) {
		p, ok := f.cfg.Ports[id]
		if !ok {
			continue
		}
		f.noteProfile(profiles, p.Groups)
		f.replace("port/"+id, portPiece(p, f.mark(id), &f.cfg), d)
		f.replace("qos/"+id, qosPiece(p), d)
	}
	f.settleProfiles(profiles, d)
	return t
}

// updateGroups takes groups over. Other groups' rules and ports' elements depend on which groups there are and
// on their statefulness, not on what is in them.
func (f *Firewall) updateGroups(c Change, stalePorts, staleGroups map[string]bool, t touched) {
	changed, came := map[string]bool{}, map[string]bool{}
	for id, g := range c.Groups {
		old := f.cfg.Groups[id]
		staleGroups[id] = true
		changed[id] = true
		if (old == nil) != (g == nil) || old != nil && g != nil && old.Stateful != g.Stateful {
			came[id] = true
		}
		if g == nil {
			delete(f.cfg.Groups, id)
		} else {
			f.cfg.Groups[id] = g
		}
		if old != nil && g != nil && !groupNarrowed(old, g) && !f.anyCut(old, g) {
			delete(changed, id)
		}
	}
	if len(came) > 0 {
		for id, g := range f.cfg.Groups {
			if slices.ContainsFunc(g.Rules, func(r nodeapi.SecurityGroupRule) bool { return came[r.RemoteGroupID] }) {
				staleGroups[id] = true
			}
		}
	}
	if len(changed)+len(came) == 0 {
		return
	}
	affected := clone(changed) // groups whose rules, or whose remote groups' members, shrank
	for id, g := range f.cfg.Groups {
		if slices.ContainsFunc(g.Rules, func(r nodeapi.SecurityGroupRule) bool { return changed[r.RemoteGroupID] }) {
			affected[id] = true
		}
	}
	for id, p := range f.cfg.Ports {
		for _, g := range p.Groups {
			if affected[g] {
				t.ports[id] = true
			}
			if came[g] {
				stalePorts[id] = true
			}
		}
	}
}

// anyCut tells whether rules were added: flows that had been cut may be allowed again.
func (f *Firewall) anyCut(old, g *nodeapi.SecurityGroup) bool {
	return !reflect.DeepEqual(old.Rules, g.Rules)
}

// groupNarrowed tells whether something that was allowed may not be any longer.
func groupNarrowed(old, g *nodeapi.SecurityGroup) bool {
	has := map[string]bool{}
	for _, m := range g.Members {
		has[m] = true
	}
	for _, m := range old.Members {
		if !has[m] {
			return true
		}
	}
	return !reflect.DeepEqual(old.Rules, g.Rules)
}

func narrowed(old, p Port) bool {
	return !slices.Equal(old.Groups, p.Groups) || !slices.Equal(old.IPs, p.IPs) || old.Security != p.Security || old.Zone != p.Zone ||
		!reflect.DeepEqual(old.Pairs, p.Pairs)
}

// noteProfile remembers a combination of groups whose chains may have to come or go.
func (f *Firewall) noteProfile(profiles map[string][]string, groups []string) {
	if len(groups) < 2 {
		return
	}
	g := slices.Clone(groups)
	sort.Strings(g)
	profiles[strings.Join(g, " ")] = g
}

// settleProfiles makes the chains of combinations in use and drops the others. Combinations count known
// groups only, so all of them are looked at when one is.
func (f *Firewall) settleProfiles(profiles map[string][]string, d *delta) {
	if len(profiles) == 0 {
		return
	}
	used := map[string][]string{}
	for _, p := range f.cfg.Ports {
		if len(p.Groups) < 2 {
			continue
		}
		if known := knownGroups(p.Groups, &f.cfg); len(known) >= 2 && p.Security {
			used["profile/"+strings.Join(known, " ")] = known
		}
	}
	for name := range f.pieces {
		if strings.HasPrefix(name, "profile/") && used[name] == nil {
			f.replace(name, piece{}, d)
		}
	}
	for name, groups := range used {
		if _, ok := f.pieces[name]; !ok {
			f.replace(name, profilePiece(groups), d)
		}
	}
}

func (f *Firewall) replace(name string, is piece, d *delta) {
	d.change(f.pieces[name], is)
	if is.chains == nil && is.elems == nil {
		delete(f.pieces, name)
		return
	}
	f.pieces[name] = is
}

func (f *Firewall) mark(port string) uint32 {
	if m, ok := f.marks[port]; ok {
		return m
	}
	var m uint32
	if n := len(f.free); n > 0 {
		m, f.free = f.free[n-1], f.free[:n-1]
	} else {
		f.next++ // 1 is the cut mark's number
		m = markPrefix | f.next
	}
	f.marks[port] = m
	return m
}

func (f *Firewall) releaseMark(port string) {
	if m, ok := f.marks[port]; ok {
		delete(f.marks, port)
		f.free = append(f.free, m)
	}
}

// load gives the kernel the difference, or everything.
func (f *Firewall) load(ctx context.Context, d *delta, full bool) error {
	if !full && f.loaded {
		gen, err := f.ns.NftGeneration()
		if err != nil {
			return err
		}
		if gen != f.genID {
			f.log.Info("the ruleset was changed by somebody else: loading ours again")
			full = true
		}
	}
	var err error
	switch {
	case full || !f.loaded:
		err = f.ns.Nft(ctx, fullText(f.pieces))
	case d.empty():
		return nil
	case d.onlyElements():
		err = f.loadElements(d)
	default:
		var b strings.Builder
		d.write(&b)
		err = f.ns.Nft(ctx, b.String())
	}
	if err != nil && !full && f.loaded {
		// Something of ours is not as we believe, a set deleted by hand perhaps.
		f.log.Warn("a change of the ruleset was refused: loading it whole", "error", err)
		err = f.ns.Nft(ctx, fullText(f.pieces))
	}
	if err != nil {
		return err
	}
	f.loaded = true
	f.genID, err = f.ns.NftGeneration()
	return err
}

// Foreign tells whether somebody else changed the ruleset since it was loaded: ours may have suffered.
func (f *Firewall) Foreign() bool {
	if !f.loaded {
		return true
	}
	gen, err := f.ns.NftGeneration()
	return err == nil && gen != f.genID
}

// Remove takes our tables away: everything is open then.
func Remove(ctx context.Context, ns *netns.NS) error {
	var errs []error
	for _, family := range []string{"bridge", "inet", "netdev"} {
		errs = append(errs, ns.Nft(ctx, fmt.Sprintf("table %s %s\ndelete table %s %s\n", family, table, family, table)))
	}
	return errors.Join(errs...)
}

// Text is the whole ruleset as it would be loaded, for tests and for people.
func (f *Firewall) Text() string { return fullText(f.pieces) }

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
