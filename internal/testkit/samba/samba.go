// Package samba starts real Active Directory domains for tests and the demo:
// a Samba domain controller on a loopback address of its own, with users, a
// service account that has the delegated rights of password writeback, and an
// LDAPS certificate that can be verified.
//
// It needs root on a Debian machine. The first start makes a root file system
// with Samba 4.24 or newer and an empty domain, and keeps both in the user's
// cache folder (370 MB; what is there can be deleted when no domain runs);
// later starts copy the domain and take about a second. Nothing is installed
// on the machine itself but mmdebstrap, and nothing that was started outlives
// the program that started it, even if that is killed; then only the folder of
// the domain is left.
//
// Its LDAP is all that such a domain has: no Kerberos, no DNS, no replication
// and no RPC. It is not Windows: it has no rule about names in passwords, no
// AdminSDHolder and other texts behind its error codes.
package samba

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-ldap/ldap/v3"

	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// SharedVariable is the environment variable with the path of a JSON
// [testkit.Directory]: a domain that somebody else started.
const SharedVariable = "WRITEBACK_DOMAIN"

// readyTimeout is how long Samba may take to answer: it takes less than a
// second, and several times that while two cores compile.
const readyTimeout = time.Minute

// Options change what [Start] does. The zero value is right for tests.
type Options struct {
	Dir string    // folder of this domain, missing or empty; a temporary one that Close removes
	Log io.Writer // gets a line for every step that takes long; nowhere
}

// A Domain is a running domain with one domain controller. Its methods must
// not be called at the same time, but for PID, Done and LogFile.
type Domain struct {
	testkit.Directory

	dir, root string
	addr      string
	remove    bool

	mu   sync.Mutex
	proc *process
}

// Start copies a fresh domain and starts its domain controller. When it
// returns, the administrator has bound once over LDAPS.
func Start(ctx context.Context, opts Options) (*Domain, error) {
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	root, err := rootFS(ctx, opts.Log)
	if err != nil {
		return nil, err
	}
	tmpl, err := template(ctx, root, opts.Log)
	if err != nil {
		return nil, err
	}
	d := &Domain{root: root, dir: opts.Dir}
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "writeback-domain-"); err != nil {
			return nil, err
		}
		d.remove = true
	} else if d.dir, err = filepath.Abs(d.dir); err != nil {
		return nil, err
	}
	if err := d.start(ctx, tmpl); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Domain) start(ctx context.Context, tmpl string) (err error) {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if list, err := os.ReadDir(d.dir); err != nil || len(list) > 0 {
		return errors.Join(err, fmt.Errorf("%s is not an empty folder", d.dir))
	}
	// With cp for the holes and the extended attributes: 35 MB in 30 ms.
	out, err := exec.CommandContext(ctx, "cp", "-a", "--sparse=always", tmpl+"/.", d.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copying the domain: %w: %s", err, out)
	}
	if d.Directory, err = readDirectory(filepath.Join(d.dir, directoryFile)); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	return writeDirectory(d.File(), d.Directory)
}

// open gives the domain in d.dir an address and a certificate, and starts it.
func (d *Domain) open(ctx context.Context) (err error) {
	if d.addr, err = freeAddress(); err != nil {
		return err
	}
	conf := fmt.Sprintf(settings, d.addr)
	if err := os.WriteFile(filepath.Join(d.dir, "smb.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	ca, err := pki.New(filepath.Join(d.dir, "tls"))
	if err != nil {
		return err
	}
	if _, err := ca.Server("dc1", []string{dnsName, d.addr}); err != nil {
		return err
	}
	d.URL, d.CAFile = "ldaps://"+net.JoinHostPort(d.addr, "636"), ca.CAFile
	return d.Restart(ctx)
}

// Restart starts a domain controller that was killed, with what it had and
// where it was. When it returns, the administrator has bound once.
func (d *Domain) Restart(ctx context.Context) error {
	d.Kill()
	log, err := os.OpenFile(d.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	proc, err := spawn(log, within(d.root, d.dir, "samba", "--foreground", "--debug-stdout",
		"--model=prefork", "--configfile="+inside+"/smb.conf")...)
	if err != nil {
		return fmt.Errorf("starting Samba: %w", err)
	}
	d.mu.Lock()
	d.proc = proc
	d.mu.Unlock()
	if err := d.ready(ctx, proc); err != nil {
		d.Kill()
		return fmt.Errorf("starting Samba on %s: %w; its last words:\n%s", d.addr, err, tail(d.LogFile()))
	}
	return nil
}

// ready waits until the administrator can bind.
func (d *Domain) ready(ctx context.Context, proc *process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errors.New("no answer in "+readyTimeout.String()))
	defer cancel()
	var last error
	err := backoff.Retry(func() error {
		select {
		case <-proc.done:
			return backoff.Permanent(fmt.Errorf("it ended: %w", proc.err))
		default:
		}
		var conn *ldap.Conn
		if conn, last = dial(d.URL, d.CAFile, d.AdminDN, d.AdminPassword); last != nil {
			return last
		}
		return conn.Close()
	}, backoff.WithContext(backoff.NewConstantBackOff(20*time.Millisecond), ctx))
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %v", context.Cause(ctx), last)
	}
	return err
}

// PID is the process whose end ends the domain controller; 0 when it was
// killed.
func (d *Domain) PID() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc == nil {
		return 0
	}
	return d.proc.pid
}

// Done is closed when the domain controller that runs now has ended.
func (d *Domain) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc == nil {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	return d.proc.done
}

// LogFile is where Samba writes what it has to say.
func (d *Domain) LogFile() string { return filepath.Join(d.dir, "samba.log") }

// File is a description of this domain for [SharedVariable]. It holds
// passwords and has mode 0600.
func (d *Domain) File() string { return filepath.Join(d.dir, directoryFile) }

// Kill ends the domain controller at once, as a power cut would, and waits
// until its processes and mounts are gone. It is safe twice.
func (d *Domain) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc != nil {
		d.proc.kill()
		d.proc = nil
	}
}

// Close ends the domain, and removes its folder if Start made one up. It is
// safe twice.
func (d *Domain) Close() error {
	d.Kill()
	if d.remove {
		return os.RemoveAll(d.dir)
	}
	return nil
}

// Shared returns a domain that many tests may use at once: the one of
// [SharedVariable], else one of its own. The returned function ends what was
// started here. Tests add users of their own with [NewUser], and neither
// change the domain's policy nor stop its controller.
func Shared(ctx context.Context) (testkit.Directory, func(), error) {
	if path := os.Getenv(SharedVariable); path != "" {
		dir, err := readDirectory(path)
		if err != nil {
			return dir, nil, fmt.Errorf("using the domain of %s: %w", SharedVariable, err)
		}
		return dir, func() {}, nil
	}
	d, err := Start(ctx, Options{Log: os.Stderr})
	if err != nil {
		return testkit.Directory{}, nil, err
	}
	return d.Directory, func() { d.Close() }, nil
}

// freeAddress finds a loopback address on which nobody listens.
func freeAddress() (string, error) {
	var last error
	for range 20 {
		// Above 127.1.0.0: the addresses below are other programs' favourites.
		addr := net.IPv4(127, byte(1+rand.N(254)), byte(rand.N(256)), byte(1+rand.N(254))).String()
		if last = listenable(addr); last == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("looking for a free loopback address: %w", last)
}

func listenable(addr string) error {
	for _, port := range []string{"389", "636", "3268", "3269"} {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, port))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
