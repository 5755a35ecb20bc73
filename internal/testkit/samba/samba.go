// Package samba starts real Active Directory domains for tests and the demo:
// one Samba domain controller, or two that replicate, each on a loopback
// address of its own, with users, a service account that has the delegated
// rights of password writeback, and LDAPS certificates that can be verified.
//
// It needs root on a Debian machine. The first start makes a root file system
// with Samba 4.24 or newer and an empty domain, and keeps both in the user's
// cache folder (420 MB; what is there can be deleted when no domain runs);
// later starts copy the domain and take about a second, or two for a pair.
// Nothing is installed on the machine itself but mmdebstrap, and nothing that
// was started outlives the program that started it, even if that is killed;
// then only the folder of the domain is left.
//
// LDAP is all that the domain of [Start] has: no Kerberos, no DNS, no
// replication and no RPC. It is not Windows: it has no rule about names in
// passwords, no AdminSDHolder and other texts behind its error codes.
//
// The domain of [StartPair] has two controllers that are really joined: each
// takes writes, and the other has them about a second later, by replication
// over RPC and Kerberos. Each can be killed and restarted alone, and the PDC
// role moved. It lacks DNS (a hosts file stands in between the two, and records
// for clients are the test's to serve), SYSVOL, SMB, winbind, and a KCC: that
// each replicates from the other is written in its template. A controller that
// does not know a password does not ask the PDC emulator, as Windows would: it
// refuses a new one until that has been replicated.
package samba

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-ldap/ldap/v3"
	"golang.org/x/sys/unix"

	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// SharedVariable is the environment variable with the path of a JSON
// [testkit.Directory]: a domain that somebody else started.
const SharedVariable = "WRITEBACK_DOMAIN"

// readyTimeout is how long Samba may take to answer: it takes less than a
// second, and several times that while two cores compile.
const readyTimeout = time.Minute

// Options change what [Start] and [StartPair] do. The zero value is right for tests.
type Options struct {
	Dir string    // folder of the domain, missing or empty; a temporary one that Close removes
	Log io.Writer // gets a line for every step that takes long; nowhere
}

// A Domain is a running domain controller and its domain: the whole of it, or
// one half of a [Pair]. Its methods must not be called at the same time, but
// for PID, Done and LogFile.
type Domain struct {
	testkit.Directory
	Host string // DNS name of the controller, which its certificate has besides the address

	folder
	name string // of the controller in its files: dc1
	addr string

	mu   sync.Mutex
	proc *process
}

// Start copies a fresh domain and starts its domain controller. When it
// returns, the administrator has bound once over LDAPS.
func Start(ctx context.Context, opts Options) (*Domain, error) {
	f, err := fresh(ctx, opts, template)
	if err != nil {
		return nil, err
	}
	d := newDomain(f, "dc1")
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func newDomain(f folder, name string) *Domain {
	return &Domain{folder: f, name: name, Host: name + "." + domain}
}

func (d *Domain) start(ctx context.Context) (err error) {
	if d.Directory, err = readDirectory(d.File()); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	return writeDirectory(d.File(), d.Directory)
}

// open gives the only controller of a domain what it needs, and starts it.
func (d *Domain) open(ctx context.Context) error {
	ca, err := pki.New(d.path("tls"))
	if err != nil {
		return err
	}
	if err := d.setUp(ca, "ldap"); err != nil {
		return err
	}
	return d.Restart(ctx)
}

// setUp gives the controller an address, a certificate in the authority's
// folder, and settings with these services.
func (d *Domain) setUp(ca *pki.Authority, services string) (err error) {
	if d.addr, err = freeAddress(); err != nil {
		return err
	}
	if _, err := ca.Server(d.name, []string{d.Host, d.addr}); err != nil {
		return err
	}
	d.URL, d.CAFile = "ldaps://"+net.JoinHostPort(d.addr, "636"), ca.CAFile
	conf := fmt.Sprintf(settings, d.name, d.addr, services)
	return os.WriteFile(d.path("smb.conf"), []byte(conf), 0o644)
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
	proc, err := spawn(log, d.command("samba", "--foreground", "--debug-stdout",
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
func (d *Domain) LogFile() string { return d.path("samba.log") }

// File is a description of this domain for [SharedVariable]. It holds
// passwords and has mode 0600.
func (d *Domain) File() string { return d.path(directoryFile) }

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

// Freeze stops a running domain controller where it is, until [Domain.Thaw]: it
// takes connections and whatever is sent to it, and answers nothing.
func (d *Domain) Freeze() error { return d.signal(unix.SIGSTOP) }

// Thaw lets a frozen domain controller go on, beginning with what it was sent
// meanwhile.
func (d *Domain) Thaw() error { return d.signal(unix.SIGCONT) }

func (d *Domain) signal(s unix.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc == nil {
		return fmt.Errorf("%s was killed", d.Host)
	}
	return d.proc.signal(s)
}

// Close ends the controller, and removes its folder if Start made one up. It
// is safe twice.
func (d *Domain) Close() error {
	d.Kill()
	return d.folder.close()
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
