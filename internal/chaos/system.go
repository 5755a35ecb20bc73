package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rs/zerolog"

	"writeback/internal/audit"
	"writeback/internal/lab"
	"writeback/internal/queue"
	"writeback/internal/seal"
)

// Options say what a system is made of.
type Options struct {
	Root      string // of the repository, with bin/ built
	Dir       string // everything that it writes; missing or empty
	Nodes     int    // of the broker, 1 or 3
	Directory string // "fake" or "samba"
	Out       io.Writer

	Consumers, Publishers int

	// Disk, if it is not 0, is the size in bytes of a file system of its own
	// for the first node of the broker. Only root can have that.
	Disk int
}

// A System is publishers and consumers, each with proxies of its own before the
// broker and the directory.
type System struct {
	*lab.Lab
	Consumers, Publishers []*Program
	Watch                 *Watch
	Reader                Reader
	Admin                 *queue.Tenant // of an administrator of the tenant's account
	Requests              *Copies       // of what publishers put into the queue

	opts      Options
	endpoints string // file
	close     []func()
}

// Start starts a system, and returns when every publisher has heard of a
// consumer. name returns the name of a password.
func Start(ctx context.Context, opts Options, name func(password string) string) (s *System, err error) {
	s = &System{opts: opts, endpoints: filepath.Join(opts.Dir, "endpoints.json"), Requests: &Copies{}}
	defer func() {
		if err != nil {
			s.Close()
			s = nil
		}
	}()
	if opts.Disk > 0 {
		if err := s.mount(); err != nil {
			return s, err
		}
	}
	s.Lab, err = lab.Start(ctx, lab.Options{
		Bin: filepath.Join(opts.Root, "bin"), NATS: filepath.Join(opts.Root, "nats"), Dir: opts.Dir,
		Consumers: opts.Consumers, Nodes: opts.Nodes, Directory: opts.Directory, Out: opts.Out, Endpoints: s.endpoints, Idle: true,
	})
	if err != nil {
		return s, err
	}
	s.close = append(s.close, s.Lab.Close)
	accounts := make(map[string]string)
	for _, u := range s.Directory.Users {
		accounts[ModifyDN(u.ObjectGUID)] = u.UPN
	}
	s.Watch = NewWatch(func(dn string) string { return accounts[dn] }, name)
	if err := s.prepare(); err != nil {
		return s, err
	}
	for _, p := range append(append([]*Program{}, s.Consumers...), s.Publishers...) {
		if err := p.Start(""); err != nil {
			return s, err
		}
		s.close = append(s.close, p.Stop)
	}
	for _, p := range s.Publishers {
		if err := lab.AwaitReady(ctx, p.config); err != nil {
			return s, err
		}
	}
	return s, s.look()
}

// Close ends everything, the last first. It is safe twice.
func (s *System) Close() {
	for i := len(s.close) - 1; i >= 0; i-- {
		s.close[i]()
	}
	s.close = nil
}

// disk is where the first node of the broker keeps its streams.
func (s *System) disk() string {
	if s.opts.Nodes > 1 {
		return filepath.Join(s.opts.Dir, "nats", "store-nats1")
	}
	return filepath.Join(s.opts.Dir, "nats", "store")
}

func (s *System) mount() error {
	if err := os.MkdirAll(s.disk(), 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", s.disk(), "tmpfs", 0, fmt.Sprintf("size=%d", s.opts.Disk)); err != nil {
		return fmt.Errorf("making a small disk for the broker: %w", err)
	}
	s.close = append(s.close, func() { syscall.Unmount(s.disk(), syscall.MNT_DETACH) })
	return nil
}

// look connects what looks at the streams, past the proxies.
func (s *System) look() error {
	publisher, err := load(s.Publishers[0].config)
	if err != nil {
		return err
	}
	consumer, err := load(s.Consumers[0].config)
	if err != nil {
		return err
	}
	e, err := s.read()
	if err != nil {
		return err
	}
	cfg := s.Broker.Config(queue.Publisher)
	cfg.URL = e.NATS.URL
	conn, err := queue.Connect(cfg, queue.Publisher, zerolog.Nop())
	if err != nil {
		return err
	}
	s.close = append(s.close, conn.Close)
	cfg.NKeyFile = s.AdminKeyFile()
	admin, err := queue.Connect(cfg, "admin", zerolog.Nop())
	if err != nil {
		return err
	}
	s.close = append(s.close, admin.Close)
	s.Admin = admin.Own()
	s.Reader = Reader{Broker: conn.Tenant(lab.Tenant), Verify: audit.Verifier{Tenant: lab.Tenant}}
	if s.Reader.Months, err = seal.LoadMonthKeys(filepath.Join(s.Dir, "publisher", "record.key")); err != nil {
		return err
	}
	if s.Reader.Verify.Publishers, err = pins(consumer["publishers"], seal.PurposePublisher); err != nil {
		return err
	}
	tenant := publisher["tenants"].([]any)[0].(tree)
	s.Reader.Verify.Consumers, err = pins(tenant["consumers"], seal.PurposeConsumer)
	return err
}

func pins(list any, purpose seal.Purpose) (seal.Pins, error) {
	var configs []seal.PinConfig
	for _, p := range list.([]any) {
		configs = append(configs, seal.PinConfig{Key: p.(tree)["key"].(string)})
	}
	return seal.ParsePins("chaos", configs, purpose)
}

func (s *System) read() (e lab.Endpoints, err error) {
	text, err := os.ReadFile(s.endpoints)
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(text)).Decode(&e)
	}
	return e, err
}

// Signal sends a signal to a process of the lab: a node of the broker, or the
// domain. What is killed is started again.
func (s *System) Signal(name string, sig syscall.Signal) error {
	e, err := s.read()
	if err != nil {
		return err
	}
	for _, p := range e.Processes {
		if p.Name == name {
			return syscall.Kill(p.PID, sig)
		}
	}
	return errors.New("the lab has no process " + name)
}

// Node is the name of the process of one node of the broker.
func (s *System) Node(i int) string {
	if s.opts.Nodes == 1 {
		return "nats"
	}
	return fmt.Sprintf("nats%d", i+1)
}
