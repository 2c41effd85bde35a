package identity

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
	"github.com/hanok-cloud/hanok/internal/identity/directory"
)

// domainDirectory is a domain whose users and groups are in a directory, with what this process remembers of it. A change of the domain's
// configuration makes a new one, which remembers nothing.
type domainDirectory struct {
	domain, name string
	enabled      bool // the domain is
	key          [sha256.Size]byte
	dir          *directory.Directory // nil: broken says why
	broken       error
	ldap         conf.LDAP
	limit        int                   // of lists; 0: none
	seen         *cache[string, int64] // until when what was asked about an entry is taken as it was answered
	flights      singleflight.Group
	complained   atomic.Int64
}

// directories are all of them, as of an epoch.
type directories struct {
	epoch int64
	m     map[string]*domainDirectory // by domain id
}

// directorySet holds the present ones.
type directorySet struct {
	now   atomic.Pointer[directories]
	mu    sync.Mutex
	files map[string]*conf.Domain // by domain name; nil: configurations are in the database
	local *cache[string, localEntity]
}

func newDirectorySet(c conf.Identity) (*directorySet, error) {
	d := &directorySet{local: newCache[string, localEntity](40000)}
	if !c.DomainSpecificDrivers || c.ConfigsFromDatabase {
		return d, nil
	}
	var err error
	if d.files, err = conf.LoadDomains(c.DomainConfigDir); err != nil {
		return nil, err
	}
	for name, domain := range d.files {
		if domain.Identity.Driver != "ldap" {
			continue
		}
		if err := directory.Check(domain.LDAP); err != nil {
			return nil, fmt.Errorf("keystone.%s.conf in %s: [ldap] %w", name, c.DomainConfigDir, err)
		}
	}
	return d, nil
}

// directoriesAt are the directories that an answer of that epoch must respect. A domain's configuration changes by Service.write, as everything does that
// moves the epoch; so every controller takes a change with its next request.
func (s *Service) directoriesAt(ctx context.Context, epoch int64) (map[string]*domainDirectory, error) {
	if !s.o.Conf.Identity.DomainSpecificDrivers {
		return nil, nil
	}
	if now := s.directories.now.Load(); now != nil && now.epoch >= epoch {
		return now.m, nil
	}
	s.directories.mu.Lock()
	defer s.directories.mu.Unlock()
	old := s.directories.now.Load()
	if old != nil && old.epoch >= epoch {
		return old.m, nil
	}
	fresh, err := inRead(ctx, s, s.readDirectories)
	if err != nil {
		return nil, err
	}
	for id, d := range fresh.m {
		if old != nil && old.m[id] != nil && old.m[id].broken == nil && old.m[id].same(d) {
			fresh.m[id] = old.m[id]
			continue
		}
		d.open()
		s.o.Logger.Info("a domain's users and groups are in a directory", "domain", d.name, "id", id)
	}
	s.directories.now.Store(fresh)
	if old != nil {
		for id, d := range old.m {
			if fresh.m[id] != d {
				d.close()
			}
		}
	}
	return fresh.m, nil
}

// directoriesFor are the directories that a request's answer must respect.
func (s *Service) directoriesFor(ctx context.Context, r *api.Request) (map[string]*domainDirectory, error) {
	if !s.o.Conf.Identity.DomainSpecificDrivers {
		return nil, nil
	}
	epoch, err := s.epochOf(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.directoriesAt(ctx, epoch)
}

// same tells whether what is remembered of d holds for o. The name and whether the domain is enabled are part of it.
func (d *domainDirectory) same(o *domainDirectory) bool {
	return d.key == o.key && d.name == o.name && d.enabled == o.enabled
}

func (d *domainDirectory) open() {
	if d.broken != nil {
		return
	}
	d.dir, d.broken = directory.Open(d.ldap)
}

func (d *domainDirectory) close() {
	if d.dir != nil {
		d.dir.Close()
	}
}

// readDirectories reads which domains have a directory. What cannot be understood is a directory that cannot be asked: it must not turn into the
// cloud's own users.
func (s *Service) readDirectories(tx *db.Tx) (*directories, error) {
	epoch, err := epochIn(tx)
	if err != nil {
		return nil, err
	}
	out := &directories{epoch: epoch, m: map[string]*domainDirectory{}}
	type domain struct {
		id, name string
		enabled  bool
	}
	var stored map[string][]storedOption
	q := `SELECT id, name, enabled FROM identity_projects WHERE is_domain = TRUE`
	if s.directories.files == nil {
		q += ` AND id IN (SELECT domain_id FROM identity_domain_config WHERE grp = 'identity' AND option = 'driver')`
		if stored, err = allConfigs(tx); err != nil {
			return nil, err
		}
	}
	all, err := db.All(tx, func(r db.Row) (d domain, err error) { err = r.Scan(&d.id, &d.name, &d.enabled); return d, err }, q)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		c, broken := s.directories.files[d.name], error(nil)
		if s.directories.files == nil {
			if c, broken = domainOptions(stored[d.id]); broken != nil {
				broken = errors.New(withoutPassword(broken.Error(), searchPassword(stored[d.id])))
				c = &conf.Domain{Identity: conf.DomainIdentity{Driver: "ldap"}}
			}
		}
		if c == nil || c.Identity.Driver != "ldap" {
			continue
		}
		key, err := configKey(c)
		if err != nil {
			return nil, err
		}
		out.m[d.id] = &domainDirectory{domain: d.id, name: d.name, enabled: d.enabled, key: key, broken: broken, limit: c.Identity.ListLimit,
			seen: newCache[string, int64](100000), ldap: c.LDAP}
	}
	return out, nil
}

// configKey tells configurations apart.
func configKey(c *conf.Domain) ([sha256.Size]byte, error) {
	text, err := json.Marshal(c)
	return sha256.Sum256(text), err
}

// allConfigs are the options that the API has stored, by domain.
func allConfigs(tx *db.Tx) (map[string][]storedOption, error) {
	out := map[string][]storedOption{}
	err := tx.Each(func(r db.Row) error {
		var domain string
		var o storedOption
		err := r.Scan(&domain, &o.group, &o.option, &o.value)
		out[domain] = append(out[domain], o)
		return err
	}, `SELECT domain_id, grp, option, value FROM identity_domain_config ORDER BY domain_id, grp, option`)
	return out, err
}

// domainOptions reads the options that the API has stored. Strings may name the secret ones (keystone/resource/core.py, _get_config_with_sensitive_info).
func domainOptions(stored []storedOption) (*conf.Domain, error) {
	secret := searchPassword(stored)
	var given []conf.DomainOption
	for _, o := range stored {
		v := o.value.V
		if text, ok := v.(string); ok && o.option != "password" {
			v = strings.ReplaceAll(text, "%(password)s", secret)
		}
		given = append(given, conf.DomainOption{Group: o.group, Name: o.option, Value: v})
	}
	return conf.DomainOf(given)
}

// searchPassword is the password of the account that searches, or "".
func searchPassword(stored []storedOption) (secret string) {
	for _, o := range stored {
		if o.group == "ldap" && o.option == "password" {
			secret, _ = o.value.V.(string)
		}
	}
	return secret
}

// withoutPassword is a text about a configuration in which the password stands as options name it.
func withoutPassword(text, secret string) string {
	if secret == "" {
		return text
	}
	quoted := strconv.Quote(secret)
	return strings.NewReplacer(secret, "%(password)s", quoted[1:len(quoted)-1], "%(password)s").Replace(text)
}

// checkStoredConfig refuses what cannot work, once everything of a change is stored. Where configurations have no effect they are only kept, whatever
// they say: Tempest stores drivers that are random words.
func (s *Service) checkStoredConfig(tx *db.Tx, domain string) error {
	c := s.o.Conf.Identity
	if !c.DomainSpecificDrivers || !c.ConfigsFromDatabase {
		return nil
	}
	stored, err := readConfig(tx, domain, "", "")
	if err != nil {
		return err
	}
	d, err := domainOptions(stored)
	if err == nil {
		err = directory.Check(d.LDAP)
	}
	if err != nil {
		return badConfig("%s", strings.TrimSuffix(withoutPassword(err.Error(), searchPassword(stored)), "."))
	}
	if d.Identity.Driver != "ldap" {
		return s.dropMirror(tx, domain)
	}
	return nil
}

// unavailable is what everybody gets who needs a directory that cannot be asked. Upstream answers 500.
func (s *Service) unavailable(d *domainDirectory, err error) error {
	now := s.o.Now().UnixMicro()
	if last := d.complained.Load(); now-last > (10*time.Second).Microseconds() && d.complained.CompareAndSwap(last, now) {
		s.o.Logger.Warn("the directory of a domain cannot be asked", "domain", d.name, "id", d.domain, "error", withoutPassword(err.Error(), d.ldap.Password))
	}
	e := fault.New(http.StatusServiceUnavailable, "", "The directory of the domain %s cannot be asked at the moment. Try again later, or ask an administrator of the cloud.", d.name)
	e.Header = http.Header{"Retry-After": {"5"}}
	return e.Because(errors.New(withoutPassword(err.Error(), d.ldap.Password)))
}

// ask puts a question to a directory. That something is not there is an answer.
func (s *Service) ask(d *domainDirectory, question func(*directory.Directory) error) error {
	err := d.broken
	if err == nil {
		err = question(d.dir)
	}
	if err == nil || errors.Is(err, directory.ErrNotFound) {
		return err
	}
	return s.unavailable(d, err)
}

// remembered tells whether what is known about something need not be asked for again.
func (s *Service) remembered(d *domainDirectory, what string) bool {
	until, ok := d.seen.get(what)
	return ok && s.o.Now().UnixMicro() < until
}

// remember notes that something was asked for just now.
func (s *Service) remember(d *domainDirectory, what ...string) {
	if c := s.o.Conf.Identity; c.Caching {
		for _, w := range what {
			d.seen.put(w, s.o.Now().Add(c.CacheTime).UnixMicro())
		}
	}
}

// localEntity is an entry of a directory as this cloud's ids name it.
type localEntity struct{ domain, kind, id string }

const (
	userEntity  = "user"
	groupEntity = "group"
)

// entityID is the id of an entry here (keystone/identity/id_generators/sha256.py).
func entityID(domain, kind, local string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(domain+kind+local)))
}

// localOf tells which entry an id stands for; ok is false when it is none of a directory.
func (s *Service) localOf(ctx context.Context, id string) (e localEntity, ok bool, err error) {
	if len(id) != 2*sha256.Size {
		return e, false, nil
	}
	if e, ok = s.directories.local.get(id); ok {
		return e, true, nil
	}
	e, err = inRead(ctx, s, func(tx *db.Tx) (localEntity, error) { return findLocal(tx, id) })
	if errors.Is(err, db.ErrNotFound) {
		return e, false, nil
	}
	if err == nil {
		s.directories.local.put(id, e)
	}
	return e, err == nil, err
}

func findLocal(tx *db.Tx, id string) (localEntity, error) {
	return db.One(tx, func(r db.Row) (e localEntity, err error) {
		err = r.Scan(&e.domain, &e.kind, &e.id)
		return e, err
	}, `SELECT domain_id, entity_type, local_id FROM identity_id_mappings WHERE public_id = $1`, id)
}
