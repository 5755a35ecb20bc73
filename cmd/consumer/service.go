package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"writeback/internal/cli"
	"writeback/internal/service"
)

const serviceUsage = `Usage: consumer service install|remove|start [FLAGS]

  install   makes the service %[1]s, or sets it again: started with the machine,
            and again 1, 5 and 15 seconds after a failure. It has an account of its own,
            NT SERVICE\%[1]s, unless -account names a managed one of the domain.
  remove    stops the service and undoes what install did; files stay
  start     starts it

Windows only; run it as administrator. This was compiled, vetted and unit-tested on
Linux, and never run on Windows: see docs/windows.md.

`

// manage installs, removes or starts the service of Windows.
func manage(ctx context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("consumer service", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	fs.Usage = func() {
		fmt.Fprintf(std.Err, serviceUsage, service.Name)
		fs.PrintDefaults()
	}
	path := fs.String("config", "consumer.yaml", "of install: configuration `file`")
	log := fs.String("log", "", "of install: `file` of the log; log/consumer.log beside the configuration if left out")
	account := fs.String("account", "", "of install: managed service `account` such as CORP\\writeback$")
	var verb string
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	switch verb {
	case "install":
		settings, err := serviceSettings(*path, *log, *account)
		if err != nil {
			return err
		}
		return service.Install(settings)
	case "remove":
		return service.Remove(ctx)
	case "start":
		return service.Start()
	}
	fs.Usage()
	return cli.Usagef("say install, remove or start")
}

// serviceSettings names everything by its whole path: a service starts elsewhere.
func serviceSettings(config, log, account string) (service.Settings, error) {
	program, err := os.Executable()
	if err != nil {
		return service.Settings{}, err
	}
	if config, err = filepath.Abs(config); err != nil {
		return service.Settings{}, err
	}
	if log == "" {
		log = filepath.Join(filepath.Dir(config), "log", "consumer.log")
	}
	if log, err = filepath.Abs(log); err != nil {
		return service.Settings{}, err
	}
	return service.Settings{Program: program, Args: []string{"run", "-config", config, "-log", log}, Account: account}, nil
}

// serve runs the consumer, as a service where it is one.
func serve(ctx context.Context, args []string, std cli.Streams) error {
	return service.Run(ctx, std, func(ctx context.Context, std cli.Streams, ready func()) error {
		return run(ctx, args, std, ready)
	})
}
