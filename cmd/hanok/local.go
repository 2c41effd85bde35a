package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/daemon"
	"github.com/hanok-cloud/hanok/internal/doctor"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

type statusCmd struct{}

func (statusCmd) Run(ctx context.Context, g *globals) error {
	_, paths, err := g.load()
	if err != nil {
		return err
	}
	s, err := daemon.AskStatus(ctx, paths)
	if errors.Is(err, daemon.ErrNotRunning) {
		fmt.Println("The cloud does not run. `hanok up` starts it.")
		os.Exit(3)
	}
	if err != nil {
		return err
	}
	fmt.Print(s)
	return nil
}

type downCmd struct{}

func (downCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return daemon.Down(ctx, c, paths, progress)
}

type purgeCmd struct {
	Yes bool `help:"Do not ask." short:"y"`
}

func (p purgeCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	if !p.Yes {
		fmt.Printf("This removes all guests, images, disks and the database in %s. Type yes to go on: ", paths.Data)
		var answer string
		if _, err := fmt.Scanln(&answer); err != nil || answer != "yes" {
			return errors.New("nothing was removed")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return daemon.Purge(ctx, c, paths, progress)
}

type doctorCmd struct{}

func (doctorCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	findings := doctor.Run(ctx, doctor.Options{Config: c, Running: paths.Running() != 0})
	policies, err := policyFindings()
	if err != nil {
		return err
	}
	findings = append(findings, policies...)
	doctor.Print(os.Stdout, findings)
	if doctor.Worst(findings) == doctor.Problem {
		return errors.New("there are problems; see above for what to do")
	}
	return nil
}

type configCmd struct {
	Explain   configExplainCmd   `cmd:"" help:"Print every setting with its meaning and the value in force."`
	Reference configReferenceCmd `cmd:"" help:"Print the reference page of all settings (docs/config.md)."`
	Keystone  configKeystoneCmd  `cmd:"" help:"Print every option of keystone.conf with its meaning and the value in force."`
}

type configExplainCmd struct{}

func (configExplainCmd) Run(g *globals) error {
	c, _, err := g.load()
	if err != nil {
		return err
	}
	fmt.Print(c.Explain())
	return nil
}

type configReferenceCmd struct{}

func (configReferenceCmd) Run() error {
	fmt.Print(config.Reference())
	return nil
}

type configKeystoneCmd struct {
	Reference bool `help:"Print the reference page instead (docs/keystone-conf.md)."`
}

func (k configKeystoneCmd) Run(g *globals) error {
	if k.Reference {
		fmt.Print(conf.Reference())
		return nil
	}
	c, err := conf.Load(g.keystoneConf(), true)
	if err != nil {
		return err
	}
	fmt.Print(c.Explain())
	return nil
}

type adminCmd struct {
	NodeBundle    nodeBundleCmd    `cmd:"" help:"Print the certificate bundle with which a node joins."`
	ResetPassword resetPasswordCmd `cmd:"" help:"Give a user a new random password and print it."`
	RotateKeys    rotateKeysCmd    `cmd:"" help:"Rotate the keys of tokens and credentials now. Living tokens stay good."`
}

type nodeBundleCmd struct {
	Node string `arg:"" help:"Name of the node."`
}

func (n nodeBundleCmd) Run(g *globals) error {
	_, paths, err := g.load()
	if err != nil {
		return err
	}
	bundle, err := daemon.NodeBundle(paths, n.Node)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(bundle)
	return err
}

type resetPasswordCmd struct {
	User   string `arg:"" optional:"" default:"admin" help:"Name of the user."`
	Domain string `default:"Default" help:"Name of the user's domain."`
}

func (r resetPasswordCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	password, err := daemon.ResetPassword(ctx, c, paths, r.Domain, r.User)
	if err != nil {
		return err
	}
	fmt.Println(password)
	return nil
}

type rotateKeysCmd struct{}

func (rotateKeysCmd) Run(ctx context.Context, g *globals) error {
	_, paths, err := g.load()
	if err != nil {
		return err
	}
	n, err := daemon.RotateKeys(ctx, paths)
	if err != nil {
		return err
	}
	fmt.Printf("rotated; %d credentials encrypted again\n", n)
	return nil
}

// progress shows a step of something that takes a while.
func progress(step string) {
	fmt.Fprintf(os.Stderr, "[%s] %s\n", time.Now().Format("15:04:05"), step)
}
