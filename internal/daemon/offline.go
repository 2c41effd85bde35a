package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hanok-cloud/hanok/internal/config"
	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// openController starts the services on what the settings and the folders name, for the daemon and for commands that work without one. o says the rest.
func openController(ctx context.Context, c *config.Config, paths Paths, o controllerOptions) (*controller, error) {
	var err error
	if o.KEK, err = paths.kek(); err != nil {
		return nil, err
	}
	o.Config, o.DatabaseURL, o.ImageDir, o.PolicyDir = c, c.DatabaseURL(), filepath.Join(paths.Data, "images"), policyDir
	return newController(ctx, o)
}

// cloudIn tells whether there is a cloud that commands without a daemon can work on.
func cloudIn(paths Paths) error {
	_, err := os.Stat(paths.KEKFile())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no cloud in %s; `hanok up` makes one (a `hanok dev` lives in memory, and only its API can be asked)", paths.Data)
	}
	return err
}

// offline runs fn on the services and the database while no daemon runs.
func offline(ctx context.Context, c *config.Config, paths Paths, fn func(*controller) error) error {
	if err := cloudIn(paths); err != nil {
		return err
	}
	options, err := conf.Load(paths.KeystoneConf, true)
	if err != nil {
		return err
	}
	ctl, err := openController(ctx, c, paths, controllerOptions{Conf: options, Logger: newLogger(c)})
	if err != nil {
		return err
	}
	defer func() { _ = ctl.close() }()
	return fn(ctl)
}
