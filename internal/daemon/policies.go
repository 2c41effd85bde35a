package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// policyPoll is how often the policy files are looked at. A poll of a handful of names costs microseconds and sees every way in which a file is
// replaced: an editor's rename, a symbolic link that moves, a file on NFS, a folder that was not there before. Notifications of the
// kernel see some of them.
const policyPoll = 500 * time.Millisecond

// mostPolicyBytes bounds a policy file; the largest sample of upstream has 300 KiB.
const mostPolicyBytes = 4 << 20

// PolicyState is what has become of one service's policy.yaml.
type PolicyState struct {
	Service string `json:"service"`
	File    string `json:"file"`
	// Rules is how many rules it changes.
	Rules int `json:"rules"`
	// Unknown are names in it that no rule has.
	Unknown []string `json:"unknown,omitempty"`
	// Error says why the file on disk is not in force; what was before it is.
	Error string `json:"error,omitempty"`
}

func (p PolicyState) String() string {
	s := fmt.Sprintf("%s: %d rules from %s", p.Service, p.Rules, p.File)
	if p.Rules == 0 {
		s = p.Service + ": the defaults"
	}
	if len(p.Unknown) > 0 {
		s += "; no service asks " + strings.Join(p.Unknown, ", ")
	}
	if p.Error != "" {
		s += "; REFUSED as it is now: " + p.Error
	}
	return s
}

// policies keeps the rules of all services as the files in a folder have them.
type policies struct {
	log   *slog.Logger
	mu    sync.Mutex
	files []*policyFile
}

type policyFile struct {
	service string
	name    string
	rules   *policy.Enforcer
	stamp   string
	err     error
}

// newPolicies loads the folder's files; one that is broken is an error, because there are no earlier rules to keep. An empty dir has none.
func newPolicies(dir string, services []*api.Service, log *slog.Logger) (*policies, error) {
	p := &policies{log: log}
	if dir == "" {
		return p, nil
	}
	for _, s := range services {
		f := &policyFile{service: s.Name, name: filepath.Join(dir, s.Name+".yaml"), rules: s.Policy}
		p.files = append(p.files, f)
		if f.stamp = stampOf(f.name); f.stamp == "" {
			continue
		}
		if err := f.load(); err != nil {
			return nil, fmt.Errorf("policy of %s: %w; correct the file, or move it away to start with the defaults", s.Name, err)
		}
		f.report(log)
	}
	if stray := p.strays(dir); len(stray) > 0 {
		log.Warn("files in the policy folder that no service reads; each is called SERVICE.yaml", "folder", dir, "files", strings.Join(stray, ", "))
	}
	return p, nil
}

// strays are the folder's policy files of no service, keystone.yaml say.
func (p *policies) strays(dir string) (out []string) {
	entries, _ := os.ReadDir(dir) // what cannot be read has been said of the services' own files
	for _, e := range entries {
		read := slices.ContainsFunc(p.files, func(f *policyFile) bool { return filepath.Base(f.name) == e.Name() })
		if !read && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) {
			out = append(out, e.Name())
		}
	}
	return out
}

// stampOf changes whenever the file does; empty: there is none.
func stampOf(name string) string {
	i, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(i.ModTime().UnixNano(), " ", i.Size(), " ", inode(i))
}

// inode tells a file from one that replaced it with the same size and time.
func inode(i fs.FileInfo) uint64 {
	if st, ok := i.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// load puts the file in force, or says with its name and line why not.
func (f *policyFile) load() error {
	i, err := os.Stat(f.name)
	var b []byte
	switch {
	case errors.Is(err, fs.ErrNotExist): // the defaults
	case err != nil:
		return err
	case i.Size() > mostPolicyBytes:
		return fmt.Errorf("%s has %d bytes; more than %d are not read", f.name, i.Size(), mostPolicyBytes)
	default:
		if b, err = os.ReadFile(f.name); err != nil {
			return err
		}
	}
	if err := f.rules.LoadOverrides(b); err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

// report tells the log what is in force now.
func (f *policyFile) report(log *slog.Logger) {
	log.Info("policy loaded", "service", f.service, "file", f.name, "rules", overridden(f.rules))
	if u := f.rules.Unknown(); len(u) > 0 {
		log.Warn("the policy file defines rules that nothing asks; are they misspelt?", "service", f.service, "file", f.name, "rules", strings.Join(u, ", "))
	}
}

func overridden(e *policy.Enforcer) int {
	n := 0
	for _, r := range e.List() {
		if r.Overridden {
			n++
		}
	}
	return n
}

// look loads the files that have changed; all says to load every one. A broken file is refused as a whole and what was before stays.
func (p *policies) look(all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		stamp := stampOf(f.name)
		if stamp == f.stamp && !all {
			continue
		}
		f.stamp = stamp
		if f.err = f.load(); f.err != nil {
			p.log.Error("the policy file is refused; the rules before it stay in force", "service", f.service, "error", f.err)
			continue
		}
		f.report(p.log)
	}
}

// run follows the files until ctx ends. Whatever hup brings makes it load them at once.
func (p *policies) run(ctx context.Context, hup <-chan os.Signal) {
	if len(p.files) == 0 {
		return
	}
	tick := time.NewTicker(policyPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.look(false)
		case <-hup:
			p.look(true)
		}
	}
}

// state is for people: the files that are there.
func (p *policies) state() []PolicyState {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []PolicyState
	for _, f := range p.files {
		s := PolicyState{Service: f.service, File: f.name, Rules: overridden(f.rules), Unknown: f.rules.Unknown()}
		if f.err != nil {
			s.Error = f.err.Error()
		}
		if f.stamp != "" || f.err != nil {
			out = append(out, s)
		}
	}
	return out
}

// enforcer finds who answers a rule: the service named, or the only one that has the rule.
func enforcer(services []*api.Service, service, rule string) (*api.Service, error) {
	var found []*api.Service
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
		if (service == "" || s.Name == service) && s.Policy.Has(rule) {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("several services have a rule %s: say which with --service", rule)
	case service != "" && !slices.Contains(names, service):
		return nil, fmt.Errorf("there is no service %s; there are %s", service, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("no service has a rule %s; `hanok policy list` shows them all", rule)
}
