package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hanok-cloud/hanok/internal/client"
	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/demo"
	"github.com/hanok-cloud/hanok/internal/doctor"
)

// UpOptions for Up.
type UpOptions struct {
	Config     *config.Config
	ConfigFile string
	Paths      Paths
	Demo       bool
	Image      string
	Progress   func(string)
}

// Up starts the daemon in the background if it does not run, waits until it answers, makes the demo cloud if asked to, and
// returns what to print. A second call finds everything there.
func Up(ctx context.Context, o UpOptions) (string, error) {
	if o.Paths.Running() == 0 {
		o.Progress("looking at this machine")
		findings := doctor.Run(ctx, doctor.Options{Config: o.Config})
		if doctor.Worst(findings) == doctor.Problem {
			doctor.Print(os.Stderr, findings)
			return "", errors.New("this machine lacks something; see above for what to do")
		}
		o.Progress("starting the cloud")
		args := []string{"up", "--foreground", "--config", o.ConfigFile}
		if _, err := o.Paths.Spawn(args...); err != nil {
			return "", fmt.Errorf("start in the background: %w", err)
		}
	}
	access, err := o.waitReady(ctx)
	if err != nil {
		return "", err
	}
	if !o.Demo {
		return o.summary(access, nil), nil
	}
	result, err := o.demo(ctx, access)
	if err != nil {
		return "", err
	}
	return o.summary(access, result), nil
}

// waitReady waits until the API answers. A daemon that ended is reported with the end of its log.
func (o UpOptions) waitReady(ctx context.Context) (Access, error) {
	healthy := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { healthy <- client.WaitHealthy(ctx, o.Config.Endpoint(), o.Paths.caCert(o.Config)) }()
	seen := false
	for {
		select {
		case err := <-healthy:
			if err != nil {
				return Access{}, fmt.Errorf("%w\n%s", err, o.Paths.LogTail())
			}
			return o.Paths.readAccess()
		case <-time.After(100 * time.Millisecond):
			running := o.Paths.Running() != 0
			if seen && !running {
				return Access{}, fmt.Errorf("the cloud ended right after its start; the end of %s:\n%s", o.Paths.LogFile(), o.Paths.LogTail())
			}
			seen = seen || running
		}
	}
}

func (o UpOptions) demo(ctx context.Context, a Access) (*demo.Result, error) {
	password, err := secretFile(o.Paths.DemoPassword(), func() []byte { return []byte(demo.RandomPassword()) })
	if err != nil {
		return nil, err
	}
	open := func(user, password, project string) (*client.Client, error) {
		return client.New(client.Options{AuthURL: a.AuthURL, User: user, Password: password, Project: project, CACert: a.CACert})
	}
	admin, err := open(a.User, a.Password, a.Project)
	if err != nil {
		return nil, err
	}
	if err := o.Paths.writeAccess(a, string(password)); err != nil {
		return nil, err
	}
	return demo.Setup(ctx, demo.Options{
		Admin: admin, Demo: func() (*client.Client, error) { return open(demo.User, string(password), demo.Project) },
		DemoPassword: string(password), ImageFile: o.Image, KeyFile: o.Paths.DemoKey(), Progress: o.Progress,
	})
}

func (o UpOptions) summary(a Access, r *demo.Result) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("\nThe cloud is up.\n")
	line("  Endpoint      %s", o.Config.Endpoint())
	line("  openrc        %s   (admin; `. %s`)", o.Paths.OpenRC(), o.Paths.OpenRC())
	line("  clouds.yaml   %s   (clouds hanok-admin%s)", o.Paths.CloudsYAML(), map[bool]string{true: " and hanok", false: ""}[r != nil])
	if r != nil {
		line("  Guest         %s at %s", r.Server, r.FloatingIP)
		line("  Log in        ssh -i %s %s@%s", o.Paths.DemoKey(), demo.LoginUser, r.FloatingIP)
	}
	line("  Stop          make down   (or: hanok down)")
	line("  Remove all    make purge  (or: hanok purge)")
	return b.String()
}

// caCert is the CA file that clients need, or empty when the endpoint is plain HTTP or has an operator's certificate.
func (p Paths) caCert(c *config.Config) string {
	if strings.HasPrefix(c.Endpoint(), "http://") || c.API.TLSCert != "" {
		return ""
	}
	return p.PKI() + "/ca.pem"
}
