// Package daemon puts the services together into the processes that the command starts: the all-in-one cloud, the controller, the
// node, and the cloud in memory. It knows every service's constructor and nothing of what they do.
package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/audit"
	"github.com/hanok-cloud/hanok/internal/clientcert"
	"github.com/hanok-cloud/hanok/internal/compute"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/identity"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
	"github.com/hanok-cloud/hanok/internal/image"
	"github.com/hanok-cloud/hanok/internal/network"
	"github.com/hanok-cloud/hanok/internal/nodehub"
	"github.com/hanok-cloud/hanok/internal/placement"
	"github.com/hanok-cloud/hanok/internal/policylog"
)

// controllerOptions for newController.
type controllerOptions struct {
	Config      *config.Config
	DatabaseURL string
	KEK         []byte
	ImageDir    string
	// PolicyDir may hold identity.yaml, compute.yaml, …: overrides of policy rules. Empty: none.
	PolicyDir string
	// Conf are identity's options; nil: all defaults.
	Conf       *conf.Config
	BcryptCost int
	// AuditHeads is the file for the audit log's signed heads, AuditAlso who gets them besides. Empty, nil: none.
	AuditHeads string
	AuditAlso  func(line string) error
	// Clients are the authorities whose client certificates count; nil: none does.
	Clients *clientcert.Authorities
	Logger  *slog.Logger
}

// controller is the services on their database.
type controller struct {
	o         controllerOptions
	db        *db.DB
	identity  *identity.Service
	image     *image.Service
	placement *placement.Service
	network   *network.Service
	compute   *compute.Service
	hub       *nodehub.Hub
	policies  *policies
	refusals  *policylog.Log
	audit     *audit.Log
	handler   http.Handler
	services  []*api.Service
}

// docsBytes bounds the cache of encoded documents of each service.
const docsBytes = 8 << 20

func newController(ctx context.Context, o controllerOptions) (c *controller, err error) {
	c = &controller{o: o}
	if c.db, err = db.Open(ctx, db.Options{URL: o.DatabaseURL, Logger: o.Logger, BeforeCommit: audit.Commit}); err != nil {
		return nil, err
	}
	opened := c.db
	defer func() {
		if err != nil {
			_ = opened.Close()
		}
	}()
	cfg := o.Config
	quota := cfg.Quota
	if c.identity, err = identity.New(identity.Options{
		DB: c.db, KEK: o.KEK, PublicEndpoint: cfg.Endpoint(), Region: cfg.API.Region, Conf: o.Conf, BcryptCost: o.BcryptCost,
		Docs: api.NewDocs(docsBytes), Logger: o.Logger,
	}); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if c.audit, err = audit.New(ctx, audit.Options{DB: c.db, KEK: o.KEK, HeadsFile: o.AuditHeads, Also: o.AuditAlso, Logger: o.Logger}); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	if c.placement, err = placement.New(placement.Options{DB: c.db}); err != nil {
		return nil, fmt.Errorf("placement: %w", err)
	}
	if c.image, err = image.New(image.Options{
		DB: c.db, DataDir: o.ImageDir, Docs: api.NewDocs(docsBytes), Logger: o.Logger,
	}); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	physical := map[string]int{}
	for name := range cfg.Mappings() {
		physical[name] = cfg.Network.MTU
	}
	if c.network, err = network.New(network.Options{
		DB: c.db, Logger: o.Logger, PhysicalNetworks: physical, OverlayMTU: cfg.Network.MTU, DocsBytes: docsBytes,
		Quotas: map[string]int64{
			"network": int64(quota.Networks), "subnet": int64(quota.Networks), "port": int64(quota.Ports), "floatingip": int64(quota.FloatingIPs),
			"security_group": int64(quota.SecurityGroups), "security_group_rule": times(quota.SecurityGroups, 10),
		},
	}); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	if c.compute, err = compute.New(compute.Options{
		DB: c.db, Projects: c.identity, Network: c.network, FindImage: c.findImage,
		Docs: api.NewDocs(2 * docsBytes), Logger: o.Logger,
		CPURatio: cfg.Compute.CPURatio, RAMRatio: cfg.Compute.RAMRatio, DiskRatio: cfg.Compute.DiskRatio, ReservedMemoryMiB: cfg.Compute.ReservedMemory,
		ResumeGuests: cfg.Node.ResumeBoot,
		Quotas:       map[string]int64{"instances": int64(quota.Instances), "cores": int64(quota.Cores), "ram": int64(quota.RAM)},
	}); err != nil {
		return nil, fmt.Errorf("compute: %w", err)
	}
	c.hub = nodehub.New(nodehub.Options{
		DB:         c.db,
		Sources:    map[string]nodehub.Source{nodehub.Guests: c.compute, nodehub.Networks: c.network},
		Sinks:      []nodehub.Sink{c.network, c.compute},
		Registrars: []nodehub.Registrar{c.network, c.compute},
		Image:      func(ctx context.Context, id string) (io.ReadCloser, error) { return c.image.Open(ctx, id) },
		Logger:     o.Logger,
	})
	c.compute.SetNodes(c.hub)
	c.services = []*api.Service{c.identity.API(), c.image.API(), c.placement.API(), c.network.API(), c.compute.API()}
	if c.policies, err = newPolicies(o.PolicyDir, c.services, o.Logger); err != nil {
		return nil, err
	}
	c.refusals = policylog.New(policylog.Options{DB: c.db, Logger: o.Logger})
	c.handler = api.NewServer(api.Options{
		Services: c.services, Auth: c.identity, PublicEndpoint: cfg.Endpoint(), TrustedProxy: trustedProxy(cfg),
		Audit: c.audit, Other: c.own(), Logger: o.Logger, Refused: c.refusals.Add,
		ClientCert: func(r *http.Request) (*x509.Certificate, error) { return o.Clients.Verified(r.TLS) },
	})
	c.compute.SetLocal(c.handler)
	return c, nil
}

func times(n, by int) int64 {
	if n < 0 {
		return -1
	}
	return int64(n * by)
}

// own serves what belongs to no service: a page at / for people, and /healthz.
func (c *controller) own() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		err := c.db.Read(r.Context(), func(tx *db.Tx) error {
			_, err := db.One(tx, db.Value[int64], `SELECT 1`)
			return err
		})
		if err != nil {
			c.o.Logger.Error("health check failed", "error", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintf(w, "This is a Hanok cloud. Clients start at %s/identity/v3\n", c.o.Config.Endpoint())
	})
	return mux
}

// findImage tells compute what it needs to know of an image.
func (c *controller) findImage(tx *db.Tx, caller *api.Caller, id string) (compute.ImageInfo, error) {
	i, err := c.image.Find(tx, caller, id)
	if err != nil {
		return compute.ImageInfo{}, err
	}
	return compute.ImageInfo{
		ID: i.ID, Name: orZero(i.Name), Status: i.Status, Format: orZero(i.DiskFormat), Size: orZero(i.Size), VirtualSize: orZero(i.VirtualSize),
		SHA512: orZero(i.HashValue), MinDiskGiB: i.MinDisk, MinRAMMiB: i.MinRAM, Properties: i.Properties,
	}, nil
}

func orZero[T any](p *T) T {
	v, _ := deref(p)
	return v
}

func (c *controller) close() error {
	// Requests that ended after the background writer did may have been refused.
	return errors.Join(c.audit.Flush(context.Background(), true), c.db.Close())
}

// bootstrap makes the first domain, roles and admin; a new admin's password is returned once.
func (c *controller) bootstrap(ctx context.Context, password string) (string, error) {
	p, err := c.identity.Bootstrap(ctx, password)
	if err != nil {
		return "", fmt.Errorf("first start: %w", err)
	}
	return p, nil
}

// status is what the control socket tells.
func (c *controller) status(ctx context.Context, version string, started time.Time) (Status, error) {
	s := Status{Version: version, PID: os.Getpid(), Endpoint: c.o.Config.Endpoint(), Started: started, Database: string(c.db.Engine()), Policies: c.policies.state()}
	err := c.db.Read(ctx, func(tx *db.Tx) error {
		nodes, err := nodehub.Nodes(tx)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			s.Nodes = append(s.Nodes, NodeStatus{n.Name, n.Up})
		}
		s.Servers, err = c.compute.CountByState(tx)
		return err
	})
	return s, err
}
