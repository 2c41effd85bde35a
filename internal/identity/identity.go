// Package identity is Keystone's API at /identity/v3: domains, projects, users, groups, roles and who has them where, the tokens that
// prove it, the service catalog, and what else Keystone keeps. It knows SQL of its own tables and no other service; the others ask it
// through Authenticate and ProjectExists.
package identity

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
)

// Options for New.
type Options struct {
	DB *db.DB
	// KEK is the key-encryption key (32 bytes) that wraps the Fernet and credential keys in the database.
	KEK []byte
	// PublicEndpoint is where clients reach the cloud: scheme://host:port, no final slash. The catalog's endpoints follow it.
	PublicEndpoint string
	// BcryptCost is the cost of new password hashes; 0: 12.
	BcryptCost int
	// TokenLifetime is how long a token is good for; 0: 4 hours.
	TokenLifetime time.Duration
	// PolicyFile is an operator's policy.yaml, or empty.
	PolicyFile []byte
	Docs       *api.Docs
	Logger     *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Service is the identity service. It is the api.Authenticator of all services.
type Service struct {
	o Options
}

var errNotYet = errors.New("identity: not there yet")

// New prepares the service: it makes the token keys at the first start.
func New(o Options) (*Service, error) { return &Service{o: o}, nil }

// API is the route table.
func (s *Service) API() *api.Service { return nil }

// Bootstrap makes the default domain, the roles, the projects admin and service, the user admin and the catalog, where they are missing. An empty
// adminPassword means a random one, which is returned when the user was made now; only its hash is stored.
func (s *Service) Bootstrap(ctx context.Context, adminPassword string) (generated string, err error) {
	return "", errNotYet
}

// SetPassword sets a local user's password by user and domain name, as an operator with access to the machine does.
func (s *Service) SetPassword(ctx context.Context, domain, user, password string) error {
	return errNotYet
}

// Authenticate tells whose token it is; an unknown, expired or revoked token is (nil, nil).
func (s *Service) Authenticate(ctx context.Context, token string) (*api.Caller, error) {
	return nil, errNotYet
}

// ProjectExists tells whether there is a project (or domain acting as one) with that id.
func (s *Service) ProjectExists(tx *db.Tx, id string) (bool, error) { return false, errNotYet }

// RotateKeys makes a new primary Fernet key. Tokens of earlier keys stay good until they expire.
func (s *Service) RotateKeys(ctx context.Context) error { return errNotYet }
