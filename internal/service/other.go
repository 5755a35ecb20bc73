//go:build !windows

package service

import (
	"context"
	"errors"

	"writeback/internal/cli"
)

// errElsewhere is what there is to say of services where there is no Windows.
var errElsewhere = errors.New("this command exists on Windows only; here the Debian package has a unit for systemd")

// Run runs f. On Windows it does so as a service, if the service manager started
// this program.
func Run(ctx context.Context, std cli.Streams, f func(ctx context.Context, std cli.Streams, ready func()) error) error {
	return f(ctx, std, func() {})
}

// Install makes the service, or makes it what s says.
func Install(Settings) error { return errElsewhere }

// Remove stops the service and undoes what [Install] did.
func Remove(context.Context) error { return errElsewhere }

// Start starts the service.
func Start() error { return errElsewhere }
