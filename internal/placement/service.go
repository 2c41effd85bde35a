package placement

import (
	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// Options for New.
type Options struct {
	DB *db.DB
}

// Service is the placement API.
type Service struct {
	db     *db.DB
	policy *policy.Enforcer
	api    *api.Service
}

// New makes the service.
func New(o Options) (*Service, error) {
	p, err := policy.New(policy.Placement())
	if err != nil {
		return nil, err
	}
	s := &Service{db: o.DB, policy: p}
	s.api = s.service()
	return s, nil
}

// API is the HTTP service.
func (s *Service) API() *api.Service { return s.api }
