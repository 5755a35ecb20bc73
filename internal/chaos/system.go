package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"writeback/internal/audit"
	"writeback/internal/chaos/proxy"
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

// A tree is a configuration file.
type tree = map[string]any

func load(path string) (cfg tree, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, &cfg)
	}
	return cfg, err
}

func store(path string, cfg tree) error {
	text, err := yaml.Marshal(cfg)
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	return err
}

// prepare puts proxies between the programs and what they dial.
func (s *System) prepare() error {
	for i := range s.opts.Consumers {
		name := fmt.Sprintf("consumer%d", i+1)
		path := filepath.Join(s.Dir, name, "consumer.yaml")
		cfg, err := load(path)
		if err != nil {
			return err
		}
		p := s.program("consumer", name, path, "run")
		if err := s.before(p, cfg); err != nil {
			return err
		}
		p.AD, err = s.proxy(proxy.Options{
			Target: strings.TrimPrefix(s.Directory.URL, "ldaps://"), Protocol: proxy.LDAP, CAFile: s.Directory.CAFile, Seen: s.Watch.Look(),
		})
		if err != nil {
			return err
		}
		dir := cfg["directory"].(tree)
		dir["urls"], dir["ca_file"] = []string{"ldaps://" + p.AD.Addr()}, p.AD.CAFile()
		if err := store(path, cfg); err != nil {
			return err
		}
		s.Consumers = append(s.Consumers, p)
	}
	// All publishers share the keys of the one that the lab knows of.
	original := filepath.Join(s.Dir, "publisher", "publisher.yaml")
	for i := range s.opts.Publishers {
		cfg, err := load(original)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("publisher%d", i+1)
		p := s.program("publisher", name, filepath.Join(s.Dir, "publisher", name+".yaml"), "serve")
		if err := s.before(p, cfg); err != nil {
			return err
		}
		for _, key := range []string{"listen", "operations_listen"} {
			if cfg[key], err = freeAddress(); err != nil {
				return err
			}
		}
		p.API = "http://" + cfg["listen"].(string)
		if err := store(p.config, cfg); err != nil {
			return err
		}
		s.Publishers = append(s.Publishers, p)
	}
	return nil
}

func (s *System) program(binary, name, config, command string) *Program {
	return &Program{
		Name: name, path: filepath.Join(s.opts.Root, "bin", binary), config: config,
		log: filepath.Join(s.Dir, "logs", name+".log"), args: []string{command, "-config", config},
	}
}

// before puts proxies between a program and the servers of the broker.
func (s *System) before(p *Program, cfg tree) error {
	broker := cfg["broker"].(tree)
	var urls []string
	var authorities []byte
	for url := range strings.SplitSeq(broker["url"].(string), ",") {
		b, err := s.proxy(proxy.Options{Target: strings.TrimPrefix(url, "tls://"), Protocol: proxy.NATS, CAFile: s.Broker.CAFile, Seen: s.Requests.see})
		if err != nil {
			return err
		}
		pem, err := os.ReadFile(b.CAFile())
		if err != nil {
			return err
		}
		p.Broker = append(p.Broker, b)
		urls, authorities = append(urls, "tls://"+b.Addr()), append(authorities, pem...)
	}
	ca := filepath.Join(s.Dir, "proxies", p.Name+".pem")
	broker["url"], broker["ca_file"] = strings.Join(urls, ","), ca
	return os.WriteFile(ca, authorities, 0o600)
}

func (s *System) proxy(opts proxy.Options) (*proxy.Proxy, error) {
	all := filepath.Join(s.Dir, "proxies")
	if err := os.MkdirAll(all, 0o700); err != nil {
		return nil, err
	}
	var err error
	if opts.Dir, err = os.MkdirTemp(all, ""); err != nil {
		return nil, err
	}
	p, err := proxy.Start(opts)
	if err == nil {
		s.close = append(s.close, func() { p.Close() })
	}
	return p, err
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

// freeAddress returns a loopback address with a port that nothing listens on.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
