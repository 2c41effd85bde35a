// Command hanok is a private cloud that speaks the OpenStack APIs. This package holds flags and wiring only: what a
// command does lives in internal/.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/daemon"
)

// Version is set by the build.
var version = "dev"

type globals struct {
	Config string `help:"Configuration file." default:"/etc/hanok/hanok.toml" env:"HANOK_CONFIG" type:"path"`
}

// load reads the configuration; the default path may be missing.
func (g *globals) load() (*config.Config, daemon.Paths, error) {
	_, named := os.LookupEnv("HANOK_CONFIG")
	c, err := config.Load(g.Config, !named && g.Config == "/etc/hanok/hanok.toml")
	if err != nil {
		return nil, daemon.Paths{}, err
	}
	return c, daemon.Paths{Data: c.Data.Folder, KeystoneConf: g.keystoneConf()}, nil
}

// keystoneConf is where identity's options may stand: beside the configuration file.
func (g *globals) keystoneConf() string {
	return filepath.Join(filepath.Dir(g.Config), "keystone.conf")
}

type cli struct {
	globals

	Up         upCmd         `cmd:"" help:"Start the cloud on this machine: controller and node in one process, in the background."`
	Dev        devCmd        `cmd:"" help:"Start a cloud in memory with simulated nodes, for tests of client code. Needs no root."`
	Controller controllerCmd `cmd:"" help:"Run a controller alone."`
	Node       nodeCmd       `cmd:"" help:"Run a node alone, for a controller elsewhere."`
	Status     statusCmd     `cmd:"" help:"Say whether the cloud runs, and what is in it."`
	Down       downCmd       `cmd:"" help:"Stop the cloud and its guests. Disks stay; guests that ran start again with the next up."`
	Purge      purgeCmd      `cmd:"" help:"Stop the cloud and remove every trace of it: guests, disks, networks, files."`
	Doctor     doctorCmd     `cmd:"" help:"Look at what this machine lacks, and say what to do."`
	ConfigCmd  configCmd     `cmd:"" name:"config" help:"Explain the settings."`
	Policy     policyCmd     `cmd:"" help:"Who may do what: list the rules, ask one, explain a refusal."`
	Admin      adminCmd      `cmd:"" help:"Administer the cloud from its own machine."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

type versionCmd struct{}

func (versionCmd) Run() error {
	fmt.Println("hanok " + version)
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c cli
	k := kong.Parse(&c, kong.Name("hanok"), kong.Description("A private cloud that speaks the OpenStack APIs."), kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c.globals))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "hanok: "+err.Error())
		os.Exit(1)
	}
}
