// Consumer is the on-premises side of writeback: it dials out to the broker,
// takes password resets, applies them to Active Directory and answers.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"

	"writeback/internal/cli"
	"writeback/internal/queue"
	"writeback/internal/seal"
)

func main() {
	cli.Main("consumer", "applies password resets from the cloud to Active Directory", []cli.Command{
		{Name: "init", About: "makes the keys that are missing and prints the public ones", Run: initKeys},
		{Name: "check", About: "says what stands in the way of resets, and changes nothing", Run: check},
		{Name: "run", About: "runs the consumer", Run: serve},
		cli.Health("consumer", operationsListen),
		{Name: "service", About: "makes it a service of Windows", Run: manage},
	})
}

func initKeys(_ context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("consumer init", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	dir := fs.String("dir", ".", "`directory` of the keys")
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	keyFile := filepath.Join(*dir, "consumer.key")
	if _, err := seal.MakeKey(keyFile, seal.PurposeConsumer); err != nil {
		return err
	}
	signer, err := seal.LoadSigner(keyFile, seal.PurposeConsumer)
	if err != nil {
		return err
	}
	public, _, err := queue.MakeNKey(filepath.Join(*dir, "consumer.nk"))
	if err != nil {
		return err
	}
	fmt.Fprintf(std.Out, "consumer broker user: %s\n", public)
	fmt.Fprintf(std.Out, "consumer public key: %s\n", signer.Public())
	return nil
}
