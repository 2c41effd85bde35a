package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/hanok-cloud/hanok/internal/client"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/demo"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// DevOptions for StartDev.
type DevOptions struct {
	Listen        string // default 127.0.0.1:0
	Nodes         int    // default 2
	BootTime      time.Duration
	FailRate      float64
	AdminPassword string    // empty: random
	DatabaseURL   string    // empty: in memory
	KeystoneConf  string    // path of a keystone.conf; empty: none
	Empty         bool      // without the flavors, images and networks of demo.Seed
	LogTo         io.Writer // warnings and errors; nil: nowhere
	Debug         bool      // everything else, too
}

// Dev is a cloud in memory with simulated nodes.
type Dev struct {
	access Access
	cancel context.CancelFunc
	done   sync.WaitGroup
	ctl    *controller
	folder string
}

// StartDev starts a cloud in memory. Nothing is written but image data, into a temporary folder that Close removes.
func StartDev(ctx context.Context, o DevOptions) (_ *Dev, err error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.AdminPassword == "" {
		o.AdminPassword = demo.RandomPassword()
	}
	if o.DatabaseURL == "" {
		o.DatabaseURL = "sqlite::memory:"
	}
	if o.LogTo == nil {
		o.LogTo = io.Discard
	}
	if !config.Loopback(o.Listen) {
		return nil, fmt.Errorf("--listen %s: a cloud in memory serves plain HTTP and so loopback addresses only", o.Listen)
	}
	if o.FailRate < 0 || o.FailRate > 1 {
		return nil, errors.New("--fail-rate must be 0 to 1")
	}
	options := conf.Default()
	if o.KeystoneConf != "" {
		if options, err = conf.Load(o.KeystoneConf, false); err != nil {
			return nil, err
		}
	}
	level := slog.LevelWarn
	if o.Debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(o.LogTo, &slog.HandlerOptions{Level: level}))
	cfg := config.Default()
	cfg.API.Listen = []string{o.Listen}
	cfg.LinuxBridge.PhysicalInterfaceMappings = []string{"provider:sim0", "public:sim1"}
	// Test suites make more of everything at once than a tenant would.
	cfg.Quota.Instances, cfg.Quota.Cores, cfg.Quota.RAM, cfg.Quota.SecurityGroups, cfg.Quota.Networks = 1000, 4000, 4<<20, 100, 1000
	ls, err := listen(cfg, Paths{}, nil)
	if err != nil {
		return nil, err
	}
	cfg.API.Listen = []string{ls[0].Addr().String()}
	d := &Dev{}
	ctx, d.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			_ = ls[0].Close()
			_ = d.Close()
		}
	}()
	if d.folder, err = os.MkdirTemp("", "hanok-dev-"); err != nil {
		return nil, err
	}
	if d.ctl, err = newController(ctx, controllerOptions{
		Config: cfg, DatabaseURL: o.DatabaseURL, KEK: RandomKey(), ImageDir: filepath.Join(d.folder, "images"),
		Conf: options, BcryptCost: bcrypt.MinCost, Logger: log,
	}); err != nil {
		return nil, err
	}
	if _, err := d.ctl.bootstrap(ctx, o.AdminPassword); err != nil {
		return nil, err
	}
	d.access = Access{AuthURL: cfg.Endpoint() + "/identity/v3", User: "admin", Password: o.AdminPassword, Project: "admin", Region: cfg.API.Region}
	d.done.Go(func() { d.ctl.audit.Run(ctx) })
	for i := range o.Nodes {
		run, err := simulatedNode(d.ctl.hub, fmt.Sprintf("sim-%d", i+1), o, log)
		if err != nil {
			return nil, err
		}
		d.done.Go(func() { run(ctx) })
	}
	d.done.Go(func() {
		if err := serve(ctx, ls, d.ctl.handler, log); err != nil {
			log.Error("serving ended", "error", err)
		}
	})
	d.done.Go(func() { d.ctl.refusals.Run(ctx) })
	admin, err := client.New(client.Options{AuthURL: d.access.AuthURL, User: d.access.User, Password: d.access.Password, Project: d.access.Project})
	if err == nil && !o.Empty {
		err = demo.Seed(ctx, admin)
	}
	return d, err
}

// Access is how to reach it as admin.
func (d *Dev) Access() Access { return d.access }

// Env is a shell file with the admin's OS_* variables.
func (d *Dev) Env() string { return d.access.Env() }

// Close stops the cloud and removes what it left.
func (d *Dev) Close() error {
	d.cancel()
	d.done.Wait()
	var err error
	if d.ctl != nil {
		err = d.ctl.close()
	}
	if d.folder != "" {
		err = errors.Join(err, os.RemoveAll(d.folder))
	}
	return err
}
