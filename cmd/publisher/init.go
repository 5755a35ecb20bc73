package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"writeback/internal/cli"
	"writeback/internal/queue"
	"writeback/internal/seal"
)

// months is for how many months, this one included, `init` makes record keys.
// Running it again adds those that are missing.
const months = 24

func initKeys(_ context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("publisher init", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	dir := fs.String("dir", ".", "`directory` of the keys")
	role := fs.String("role", "publisher", "publisher: all keys of a publisher; provisioner: the broker keys that `publisher streams` needs; auditor: the broker key of who may read the records")
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	nkey := func(role queue.Role) error {
		file := string(role) + ".nk"
		public, made, err := queue.MakeNKey(filepath.Join(*dir, file))
		if err != nil {
			return err
		}
		report(std, file, made)
		fmt.Fprintf(std.Out, "%s broker user: %s\n", role, public)
		return nil
	}
	switch *role {
	case "provisioner":
		if err := nkey(queue.Provisioner); err != nil {
			return err
		}
		return nkey(queue.System)
	case "auditor":
		return nkey(queue.Auditor)
	case "publisher":
	default:
		return cli.Usagef("-role: must be publisher, provisioner or auditor")
	}
	for _, purpose := range []seal.Purpose{seal.PurposePublisher, seal.PurposeSlot, seal.PurposeSession} {
		file := string(purpose) + ".key"
		made, err := seal.MakeKey(filepath.Join(*dir, file), purpose)
		if err != nil {
			return err
		}
		report(std, file, made)
	}
	added, err := seal.MakeMonthKeys(filepath.Join(*dir, "record.key"), time.Now(), months)
	if err != nil {
		return err
	}
	report(std, "record.key", added > 0)
	signer, err := seal.LoadSigner(filepath.Join(*dir, "publisher.key"), seal.PurposePublisher)
	if err != nil {
		return err
	}
	if err := nkey(queue.Publisher); err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "publisher public key: %s\n", signer.Public())
	return nil
}

func report(std cli.Streams, file string, made bool) {
	if made {
		fmt.Fprintf(std.Err, "%s: made\n", file)
	} else {
		fmt.Fprintf(std.Err, "%s: is there already, left as it is\n", file)
	}
}
