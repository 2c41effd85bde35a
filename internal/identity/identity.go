// Package identity is Keystone's API at /identity/v3: domains, projects, users, groups, roles and who has them where, the tokens that
// prove it, the service catalog, and what else Keystone keeps. It knows SQL of its own tables and no other service; the others ask it
// through Authenticate and ProjectExists.
package identity

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
	"github.com/hanok-cloud/hanok/internal/identity/oidc"
	"github.com/hanok-cloud/hanok/internal/policy"
)

//go:embed differences.md
var differences string

// Options for New.
type Options struct {
	DB *db.DB
	// KEK is the key-encryption key (32 bytes) that wraps the Fernet and credential keys in the database.
	KEK []byte
	// PublicEndpoint is where clients reach the cloud: scheme://host:port, no final slash. The catalog's endpoints follow it.
	PublicEndpoint string
	// Region is the catalog's region, made at the first start; empty: RegionOne.
	Region string
	// BcryptCost is the cost of new password hashes; 0: 12.
	BcryptCost int
	// Conf are the options of keystone.conf; nil: upstream's defaults.
	Conf   *conf.Config
	Docs   *api.Docs
	Logger *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Service is the identity service. It is the api.Authenticator of all services.
type Service struct {
	kinds
	schemas   schemas
	model     limitModel
	fed       federationKinds
	oidc      map[string]*oidc.Provider
	o         Options
	rules     *policy.Enforcer
	passwords *passwords
	tokens    *keyring
	blobs     *keyring
	sessions  *cache[string, *session]
	// epoch is the authorisation epoch as this process last saw it; on SQLite there is no other process. keysEpoch is the one at which the
	// token keys were read.
	epoch, keysEpoch atomic.Int64
	epochReads       flights
	catalog          atomic.Pointer[catalog]
	memo             atomic.Pointer[memo]
	pattern          *regexp2.Regexp // that passwords must match; nil: any
	// seen are the days of last logins as far as this process knows them written.
	seen     *cache[string, int64]
	inactive inactivity
	// directories are where domains keep users outside of this cloud's database.
	directories *directorySet
}

// New prepares the service: it makes the token keys at the first start.
func New(o Options) (*Service, error) {
	if o.Region == "" {
		o.Region = "RegionOne"
	}
	if o.Conf == nil {
		o.Conf = conf.Default()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Docs == nil {
		o.Docs = api.NewDocs(8 << 20)
	}
	rules, err := policy.New(Rules())
	if err != nil {
		return nil, err
	}
	pw, err := newPasswords(o.BcryptCost)
	if err != nil {
		return nil, err
	}
	pattern, err := o.Conf.SecurityCompliance.PasswordPattern()
	if err != nil {
		return nil, fmt.Errorf("identity: password_regex: %w", err)
	}
	s := &Service{kinds: newKinds(), schemas: newSchemas(), fed: newFederationKinds(), o: o, rules: rules, passwords: pw, tokens: &keyring{purpose: tokenKeys}, blobs: &keyring{purpose: credentialKeys},
		sessions: newCache[string, *session](40000), pattern: pattern, seen: newCache[string, int64](40000)}
	if s.oidc, err = newOIDC(o); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if s.directories, err = newDirectorySet(o.Conf.Identity); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	ctx := context.Background()
	if s.model, err = findLimitModel(o.Conf.UnifiedLimit.EnforcementModel); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if err := s.read(ctx, s.checkTrees); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	for _, ring := range []*keyring{s.tokens, s.blobs} {
		if err := s.loadKeys(ctx, ring); err != nil {
			return nil, fmt.Errorf("identity: keys: %w", err)
		}
	}
	if _, err = s.readEpoch(ctx); err != nil {
		return nil, err
	}
	return s, s.dropOldMirrors(ctx)
}

// API is the route table.
func (s *Service) API() *api.Service {
	return &api.Service{Name: "identity", Prefix: "/identity", Aliases: []api.Alias{{From: "/v3", To: "/v3"}}, Routes: s.routes(), Dialect: dialect(),
		Policy: s.rules, Docs: s.o.Docs, Rewrite: rewrite, BodyLimit: 112 << 10, IgnoresServiceTokens: true, Admit: s.admitted,
		Plain: true, Header: map[string]string{"Vary": "X-Auth-Token"}, Schema: schema.KeystoneAPI, Differences: differences}
}

func epochIn(tx *db.Tx) (int64, error) {
	return db.One(tx, db.Value[int64], `SELECT value FROM identity_state WHERE name = 'epoch'`)
}

// write runs a change of anything that authorisation or the catalog may depend on, and moves the epoch: what any process has cached
// about tokens is then void. The epoch's row is taken last, so that its lock is held briefly.
func (s *Service) write(ctx context.Context, fn func(*db.Tx) error) error {
	return s.o.DB.Write(ctx, func(tx *db.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		e, err := db.One(tx, db.Value[int64], `UPDATE identity_state SET value = value + 1 WHERE name = 'epoch' RETURNING value`)
		if err != nil {
			return err
		}
		tx.OnCommit(func() { s.advance(e) })
		return nil
	})
}

// advance never goes back: commits may report in another order than they were numbered.
func (s *Service) advance(e int64) { raise(&s.epoch, e) }

// raise stores a value unless a larger one is there.
func raise(at *atomic.Int64, to int64) {
	for {
		now := at.Load()
		if now >= to || at.CompareAndSwap(now, to) {
			return
		}
	}
}

func (s *Service) read(ctx context.Context, fn func(*db.Tx) error) error { return s.o.DB.Read(ctx, fn) }

// ProjectExists tells whether there is a project (or a domain acting as one) with that id.
func (s *Service) ProjectExists(tx *db.Tx, id string) (bool, error) {
	_, err := db.One(tx, db.Value[string], `SELECT id FROM identity_projects WHERE id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
