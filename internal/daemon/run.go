package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanok-cloud/hanok/internal/agent"
	"github.com/hanok-cloud/hanok/internal/agent/guest"
	"github.com/hanok-cloud/hanok/internal/agent/metadata"
	agentnet "github.com/hanok-cloud/hanok/internal/agent/network"
	"github.com/hanok-cloud/hanok/internal/audit"
	"github.com/hanok-cloud/hanok/internal/clientcert"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/demo"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodelink"
	"github.com/hanok-cloud/hanok/internal/pki"
)

// policyDir is where an operator's policy overrides lie: identity.yaml, compute.yaml, network.yaml, image.yaml, placement.yaml.
const policyDir = "/etc/hanok/policy"

func newLogger(c *config.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // checked when the file was read
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// RunAllInOne runs controller and node in this process until ctx ends. Guests go on.
func RunAllInOne(ctx context.Context, c *config.Config, paths Paths, version string) error {
	name, err := nodeName(c)
	if err != nil {
		return err
	}
	return runController(ctx, c, paths, version, func(ctx context.Context, ctl nodeapi.Controller, log *slog.Logger) error {
		return runNode(ctx, c, paths, name, ctl, log)
	})
}

// RunController runs a controller alone until ctx ends.
func RunController(ctx context.Context, c *config.Config, paths Paths, version string) error {
	return runController(ctx, c, paths, version, nil)
}

type nodeRunner func(ctx context.Context, ctl nodeapi.Controller, log *slog.Logger) error

func runController(ctx context.Context, c *config.Config, paths Paths, version string, node nodeRunner) error {
	started := time.Now()
	log := newLogger(c)
	if err := os.MkdirAll(paths.Data, 0o755); err != nil {
		return err
	}
	if err := paths.claim(); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	options, err := conf.Load(paths.KeystoneConf, true)
	if err != nil {
		return err
	}
	clients, err := clientAuthorities(options, log)
	if err != nil {
		return err
	}
	ls, err := listen(c, paths, clients)
	if err != nil {
		return err
	}
	ctl, err := openController(ctx, c, paths, controllerOptions{Conf: options, Logger: log, AuditHeads: paths.AuditHeads(), AuditAlso: toSyslog(log), Clients: clients})
	if err != nil {
		return err
	}
	defer func() { _ = ctl.close() }()
	if err := ctl.firstStart(ctx, paths, log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := (control{
		policy: ctl.policyControl(),
		status: func(ctx context.Context) (Status, error) { return ctl.status(ctx, version, started) },
		resetPassword: func(ctx context.Context, domain, user string) (string, error) {
			return ctl.resetPassword(ctx, paths, domain, user)
		},
		audit: ctl.audit.Search,
		rotateKeys: func(ctx context.Context) (int, error) {
			if err := ctl.identity.RotateKeys(ctx); err != nil {
				return 0, err
			}
			return ctl.identity.RotateCredentialKeys(ctx)
		},
	}).serve(ctx, paths.Control()); err != nil {
		return err
	}
	log.Info("hanok is up", "version", version, "endpoint", c.Endpoint(), "took", time.Since(started).Round(time.Millisecond))
	nodeDone := make(chan error, 1)
	if node != nil {
		go func() {
			err := node(ctx, ctl.hub, log)
			if ctx.Err() == nil {
				cancel(fmt.Errorf("the node ended: %w", err))
			}
			nodeDone <- err
		}()
	} else {
		nodeDone <- nil
	}
	var jobs sync.WaitGroup
	jobs.Go(func() { ctl.runJobs(ctx, log) })
	jobs.Go(func() { ctl.refusals.Run(ctx) })
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	jobs.Go(func() { ctl.policies.run(ctx, hup) })
	jobs.Go(func() { ctl.audit.Run(ctx) })
	err = serve(ctx, ls, ctl.withNodes(ctx, paths, log), log)
	cancel(nil)
	<-nodeDone
	jobs.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	log.Info("hanok ends")
	return err
}

// withNodes adds the nodes' part of the port to the APIs.
func (c *controller) withNodes(ctx context.Context, paths Paths, log *slog.Logger) http.Handler {
	own := sync.OnceValues(func() (*clientcert.Authorities, error) {
		ca, err := pki.Open(paths.PKI(), time.Now)
		if err != nil {
			return nil, err
		}
		return clientcert.Of(ca.Pool(), time.Now), nil
	})
	nodes := nodelink.Handler(ctx, c.hub, func(r *http.Request) (*x509.Certificate, error) {
		if r.TLS == nil { // and without TLS there need be no CA
			return nil, nil
		}
		a, err := own()
		if err != nil {
			return nil, err
		}
		return a.Verified(r.TLS)
	}, log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, nodelink.Prefix) {
			nodes.ServeHTTP(w, r)
			return
		}
		c.handler.ServeHTTP(w, r)
	})
}

// firstStart makes the admin and writes its access files; later starts change nothing but an endpoint that moved.
func (c *controller) firstStart(ctx context.Context, paths Paths, log *slog.Logger) error {
	password, err := c.bootstrap(ctx, "")
	if err != nil {
		return err
	}
	if password == "" {
		return nil
	}
	// Shown once to a person, and never to a log.
	if st, err := os.Stderr.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
		fmt.Fprintf(os.Stderr, "first start: the password of admin is %s\n", password)
	}
	log.Info("first start: the admin's password is in " + paths.OpenRC())
	return paths.writeAccess(c.access(paths, password), "")
}

func (c *controller) access(paths Paths, password string) Access {
	return Access{
		AuthURL: c.o.Config.Endpoint() + "/identity/v3", User: "admin", Password: password, Project: "admin", Region: c.o.Config.API.Region,
		CACert: paths.caCert(c.o.Config),
	}
}

func (c *controller) resetPassword(ctx context.Context, paths Paths, domain, user string) (string, error) {
	password := demo.RandomPassword()
	ctx = audit.Local(ctx, "update", "data/security/account/user", domain+"/"+user)
	if err := c.identity.SetPassword(ctx, domain, user, password); err != nil {
		return "", err
	}
	// The files that people were told to use go on working.
	demoPassword, err := os.ReadFile(paths.DemoPassword()) // none without a demo project
	switch {
	case domain != "Default":
	case user == "admin":
		return password, paths.writeAccess(c.access(paths, password), string(demoPassword))
	case user == demo.User && err == nil:
		admin, err := paths.readAccess()
		if err != nil {
			return password, err
		}
		return password, errors.Join(pki.WriteFile(paths.DemoPassword(), []byte(password), 0o600), paths.writeAccess(admin, password))
	}
	return password, nil
}

// ResetPassword gives a user a random password: through the running daemon, or in the database when none runs.
func ResetPassword(ctx context.Context, c *config.Config, paths Paths, domain, user string) (string, error) {
	var password string
	q := "?domain=" + url.QueryEscape(domain) + "&user=" + url.QueryEscape(user)
	err := ask(ctx, paths, "POST", "/reset-password"+q, &password)
	if !errors.Is(err, ErrNotRunning) {
		return password, err
	}
	err = offline(ctx, c, paths, func(ctl *controller) (err error) {
		password, err = ctl.resetPassword(ctx, paths, domain, user)
		return err
	})
	return password, err
}

// RunNode runs a node alone for a controller elsewhere, known by the certificate bundle.
func RunNode(ctx context.Context, c *config.Config, paths Paths, controllerAddr, bundleFile string) error {
	bundle, err := os.ReadFile(bundleFile)
	if err != nil {
		return fmt.Errorf("node bundle: %w", err)
	}
	link, name, err := nodelink.Dial(controllerAddr, bundle)
	if err != nil {
		return err
	}
	if c.Node.Name != "" && c.Node.Name != name {
		return fmt.Errorf("node.name is %s but the bundle is for %s", c.Node.Name, name)
	}
	if err := os.MkdirAll(paths.Data, 0o755); err != nil {
		return err
	}
	if err := paths.claim(); err != nil {
		return err
	}
	return runNode(ctx, c, paths, name, link, newLogger(c))
}

// NodeBundle makes the certificate bundle with which a node of that name joins.
func NodeBundle(paths Paths, node string) ([]byte, error) {
	ca, err := pki.Open(paths.PKI(), time.Now)
	if err != nil {
		return nil, err
	}
	cert, key, err := ca.Issue(nodelink.Subject(node), nil)
	return append(cert, key...), err
}

// Down stops the daemon and the guests, and takes the node's network down. Disks and the database stay.
func Down(ctx context.Context, c *config.Config, paths Paths, progress func(string)) error {
	progress("stopping the cloud")
	if err := paths.Terminate(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return halt(ctx, c, paths, progress)
}

// halt stops guests and networks of a node whose agent does not run.
func halt(ctx context.Context, c *config.Config, paths Paths, progress func(string)) error {
	if _, err := os.Stat(paths.Data); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	// A person looks on; what is ordinary is told by progress.
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := openNode(c, paths, nil, log)
	if err != nil {
		return err
	}
	progress("shutting down guests")
	if err := p.shutDownGuests(ctx); err != nil {
		return fmt.Errorf("shut down guests: %w", err)
	}
	progress("removing networks from the kernel")
	if err := agentnet.Purge(ctx, p.networkOptions(c, log)); err != nil {
		return fmt.Errorf("remove networks: %w", err)
	}
	return removeProvider()
}

// Purge removes every trace of the cloud from this machine.
func Purge(ctx context.Context, c *config.Config, paths Paths, progress func(string)) error {
	if err := Down(ctx, c, paths, progress); err != nil {
		return err
	}
	progress("removing " + paths.Data)
	if err := os.RemoveAll(paths.Data); err != nil {
		return err
	}
	return guest.RemoveTraces(c.Node.QEMUUser)
}

// configDrive renders a guest's config drive.
func configDrive(g *nodeapi.Guest, items agent.NetworkItems) map[string][]byte {
	ports := metadata.Interfaces(*g,
		func(id string) (nodeapi.Port, bool) { return deref(items.Ports[id]) },
		func(id string) (nodeapi.Network, bool) { return deref(items.Networks[id]) })
	return metadata.Render(metadata.Instance{Guest: *g, Interfaces: ports})
}

func deref[T any](p *T) (T, bool) {
	if p == nil {
		var zero T
		return zero, false
	}
	return *p, true
}
