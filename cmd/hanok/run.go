package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hanok-cloud/hanok/internal/daemon"
)

type upCmd struct {
	Foreground bool          `help:"Stay in the foreground, for a service manager."`
	Demo       bool          `help:"Make the demo project with its network and a first guest, too."`
	Image      string        `help:"Guest image for --demo (qcow2)." type:"path"`
	Wait       time.Duration `help:"How long to wait until everything is up." default:"5m"`
}

func (u upCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	if u.Foreground {
		return daemon.RunAllInOne(ctx, c, paths, version)
	}
	ctx, cancel := context.WithTimeout(ctx, u.Wait)
	defer cancel()
	summary, err := daemon.Up(ctx, daemon.UpOptions{Config: c, ConfigFile: g.Config, Paths: paths, Demo: u.Demo, Image: u.Image, Progress: progress})
	if err != nil {
		return err
	}
	fmt.Print(summary)
	return nil
}

type devCmd struct {
	Listen   string        `help:"Address to serve on; port 0 takes a free one." default:"127.0.0.1:8780"`
	EnvFile  string        `help:"Write OS_* variables to this file once the cloud answers." type:"path"`
	Nodes    int           `help:"Number of simulated nodes." default:"2"`
	BootTime time.Duration `help:"How long a simulated guest takes to boot."`
	FailRate float64       `help:"Share of boots that fail, 0 to 1."`
	Password string        `help:"Admin password; random when empty." env:"HANOK_DEV_PASSWORD"`
	Keystone string        `help:"File with identity's options (keystone.conf)." name:"keystone-conf" type:"path"`
	Database string        `help:"Database URL instead of memory, for test/make-fixture.sh." hidden:""`
}

func (d devCmd) Run(ctx context.Context) error {
	cloud, err := daemon.StartDev(ctx, daemon.DevOptions{
		Listen: d.Listen, Nodes: d.Nodes, BootTime: d.BootTime, FailRate: d.FailRate, AdminPassword: d.Password, DatabaseURL: d.Database, KeystoneConf: d.Keystone, LogTo: os.Stderr,
	})
	if err != nil {
		return err
	}
	defer cloud.Close()
	if d.EnvFile != "" {
		if err := os.WriteFile(d.EnvFile, []byte(cloud.Env()), 0o600); err != nil {
			return err
		}
	}
	fmt.Print(cloud.Env())
	<-ctx.Done()
	return nil
}

type controllerCmd struct{}

func (controllerCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	return daemon.RunController(ctx, c, paths, version)
}

type nodeCmd struct {
	Controller string `help:"Node address of the controller (host:port)." required:""`
	Bundle     string `help:"Certificate bundle made by 'hanok controller' for this node." required:"" type:"path"`
}

func (n nodeCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	return daemon.RunNode(ctx, c, paths, n.Controller, n.Bundle)
}
