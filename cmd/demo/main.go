// Demo runs writeback as a whole on one machine: a domain controller, the
// broker, two consumers and a publisher, as separate processes. It resets a
// password, proves it, and goes on until it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"writeback/internal/lab"
	"writeback/internal/obs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second one ends the program at once
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (failed error) {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Dir(binary)
	opts := lab.Options{Bin: bin, NATS: filepath.Join(bin, "..", "nats"), Out: os.Stdout}
	flag.IntVar(&opts.Consumers, "consumers", 2, "how many consumers run, 1 to 8")
	flag.IntVar(&opts.Nodes, "nodes", 1, "how many servers the broker has, 1 or 3")
	flag.StringVar(&opts.Directory, "directory", "samba", "samba: a real domain, needs root; fake: a stand-in inside this program")
	flag.StringVar(&opts.Endpoints, "endpoints", "", "write addresses, token and users to this `file`, for scripts")
	flag.StringVar(&opts.Dir, "dir", "", "keep keys, logs and data in this `directory`, which must be empty (default: one that is removed in the end)")
	version := flag.Bool("version", false, "say what this is, and do nothing")
	once := flag.Bool("once", false, "end after the samples; the exit status says whether all was as expected")
	flag.Parse()
	if flag.NArg() != 0 || opts.Consumers < 1 || opts.Consumers > 8 || opts.Nodes != 1 && opts.Nodes != 3 || opts.Directory != "samba" && opts.Directory != "fake" {
		fmt.Fprintln(os.Stderr, "demo: -consumers must be 1 to 8, -nodes 1 or 3, -directory samba or fake, and there are no other arguments; see -help")
		os.Exit(2)
	}
	if *version {
		fmt.Println(obs.BuildText("demo"))
		return nil
	}
	if opts.Dir == "" {
		if opts.Dir, err = os.MkdirTemp("", "writeback-demo-"); err != nil {
			return err
		}
		defer func() {
			if failed == nil { // else its logs are wanted
				os.RemoveAll(opts.Dir)
			}
		}()
	} else if opts.Dir, err = emptyDir(opts.Dir); err != nil {
		return err
	}

	fmt.Println("Starting writeback on this machine:")
	l, err := lab.Start(ctx, opts)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Samples(ctx); err != nil {
		return fmt.Errorf("%w; logs are in %s", err, filepath.Join(l.Dir, "logs"))
	}
	fmt.Println("\nAll was as expected.")
	if *once {
		return nil
	}
	fmt.Printf("Logs are in %s.\n", filepath.Join(l.Dir, "logs"))
	user, audit := l.Directory.Users[1], filepath.Join(bin, "audit")
	page, err := l.ResetPage(ctx, user.UPN)
	if err != nil {
		return err
	}
	admin, operator, err := l.AdminPage(ctx)
	if err != nil {
		return err
	}
	fmt.Printf(`
Reset the password of %s yourself, in a browser, for 15 minutes from now:

  %s

Look at the administration page, with an operator token to sign in:

  %s
  %s

Reset it through the API:

  curl -sS %s/v1/resets \
    -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' \
    -d '{"account":{"upn":"%s"},"password":"Correct-Horse-7"}'

See what happened, and whether all of it is there:

  %s replay -config %s
  %s verify -config %s

Ctrl-C ends everything.
`, user.UPN, page, admin, operator, l.APIURL, l.Token, user.UPN, audit, l.AuditFile(), audit, l.AuditFile())
	<-ctx.Done()
	fmt.Println("Ending everything.")
	return nil
}

// emptyDir returns the absolute path of a directory that is missing or empty.
func emptyDir(path string) (string, error) {
	entries, err := os.ReadDir(path)
	if err == nil && len(entries) > 0 {
		return "", fmt.Errorf("-dir: %s is not empty", path)
	}
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	return filepath.Abs(path)
}
