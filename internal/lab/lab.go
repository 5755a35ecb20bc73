// Package lab runs the whole system on one machine, for the demo, for scripts
// and for benchmarks: a domain controller, nats-server with the files of nats/,
// a publisher and consumers, each a process of its own with keys, certificates
// and configuration made for this run. A process that dies is started again.
package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/samba"
)

// Tenant is the tenant that nats/accounts.conf is written for.
const Tenant = "corp"

// Options say what to run.
type Options struct {
	Bin       string // directory of the programs, bin/ of the repository
	NATS      string // directory of the broker's configuration, nats/ of the repository
	Dir       string // everything that this run writes; missing or empty
	Consumers int    // replicas, 1 to 8
	// Publishers, which share their keys, tokens and users; 0 is 1. All but the
	// first are for who asks for [Lab.APIs].
	Publishers int
	Nodes      int       // of the broker, 1 or 3; 0 is 1
	Directory  string    // "samba" or "fake"; "samba-pair" or "fake-pair" for two domain controllers
	Endpoints  string    // file for scripts; none if empty
	Operator   bool      // of the broker: the tenant is made while it runs
	Idle       bool      // configure publisher and consumers, and start none of them
	Out        io.Writer // what is started, and what died
}

// A Lab is a running system.
type Lab struct {
	Directory testkit.Directory // of a pair, that of DC1
	Pair      *samba.Pair       // of "samba-pair", else nil; it is not started again when it dies
	APIURL    string
	Token     string
	Broker    *broker.Files // of the first node
	Dir       string

	opts       Options
	apis       []string          // of the publishers
	operations map[string]string // URL by name, of publishers and consumers
	nodes      []*broker.Files
	admin      string
	fake       *fakead.Server // nil where the directory is a real one
	second     *fakead.Server // of "fake-pair"
	urls       []string       // of the domain controllers
	runtime    string         // tmpfs directory of the consumers; empty if there is none
	close      []func()

	mu        sync.Mutex // guards what follows, and the order of lines on Out
	processes []*process
	closing   bool
	move      func(*exec.Cmd) *exec.Cmd // to where consumers run; nil is here
}

// Start starts everything, and returns when a reset can be accepted, unless
// publisher and consumers are left to the caller.
func Start(ctx context.Context, opts Options) (l *Lab, err error) {
	if opts.Consumers < 1 || opts.Consumers > 8 {
		return nil, fmt.Errorf("consumers: %d is not between 1 and 8", opts.Consumers)
	}
	if opts.Nodes != 0 && opts.Nodes != 1 && opts.Nodes != broker.Nodes {
		return nil, fmt.Errorf("nodes: %d is neither 1 nor %d", opts.Nodes, broker.Nodes)
	}
	l = &Lab{opts: opts, Dir: opts.Dir, operations: make(map[string]string)}
	defer func() {
		if err != nil {
			l.Close()
			l = nil
		}
	}()
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return l, err
	}
	steps := []func(context.Context) error{l.startDirectory, l.startBroker, l.configure}
	if !opts.Idle {
		steps = append(steps, l.startConsumers, l.startPublishers, l.awaitReady)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return l, err
		}
	}
	return l, l.writeEndpoints()
}

// Close ends everything that was started, the last first. It is safe twice.
func (l *Lab) Close() {
	l.mu.Lock()
	l.closing = true
	processes := l.processes
	l.processes = nil
	l.mu.Unlock()
	for i := len(processes) - 1; i >= 0; i-- {
		processes[i].end()
	}
	for i := len(l.close) - 1; i >= 0; i-- {
		l.close[i]()
	}
	l.close = nil
}

func (l *Lab) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.opts.Out, format+"\n", args...)
}

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.opts.Dir}, elem...)...)
}

func (l *Lab) startDirectory(ctx context.Context) error {
	switch l.opts.Directory {
	case "samba":
		d, err := samba.Start(ctx, samba.Options{Dir: l.path("samba"), Log: l.opts.Out})
		if err != nil {
			return fmt.Errorf("starting the domain: %w (-directory fake needs neither root nor Samba)", err)
		}
		l.close = append(l.close, func() { d.Close() })
		l.Directory = d.Directory
		l.urls = []string{d.URL}
		l.watch("samba", d.LogFile(), d)
		return nil
	case "samba-pair":
		p, err := samba.StartPair(ctx, samba.Options{Dir: l.path("samba"), Log: l.opts.Out})
		if err != nil {
			return fmt.Errorf("starting the domain: %w", err)
		}
		l.close = append(l.close, func() { p.Close() })
		l.Pair, l.Directory = p, p.DC1.Directory
		l.urls = []string{p.DC1.URL, p.DC2.URL}
		return nil
	case "fake", "fake-pair":
		return l.startFake()
	}
	return fmt.Errorf("directory: %q is none of samba, samba-pair, fake and fake-pair", l.opts.Directory)
}

func (l *Lab) startFake() (err error) {
	if err := os.MkdirAll(l.path("fakead"), 0o700); err != nil {
		return err
	}
	if l.fake, err = fakead.Start(fakead.Options{Dir: l.path("fakead")}); err != nil {
		return err
	}
	l.close = append(l.close, func() { l.fake.Close() })
	l.Directory = l.fake.Directory()
	l.urls = []string{l.Directory.URL}
	if l.opts.Directory == "fake-pair" {
		if l.second, err = l.fake.AddDC(fakead.DCOptions{}); err != nil {
			return err
		}
		l.close = append(l.close, func() { l.second.Close() })
		l.urls = append(l.urls, l.second.Directory().URL)
	}
	l.say("  %-10s a stand-in inside this program, not a real Active Directory: %s", "fake AD", strings.Join(l.urls, " "))
	return nil
}

// A Process is one of the broker, a consumer or a publisher that runs. If it
// ends, another with its name is started.
type Process struct {
	Name       string
	PID        int
	Operations string // URL of what it says of itself; empty of the broker
}

// Processes are those that run.
func (l *Lab) Processes() (list []Process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		list = append(list, Process{p.name, p.pid, l.operations[p.name]})
	}
	return list
}

// startBroker runs nats-server with the files of nats/, to which it adds one
// user: an administrator of the tenant's account, for looking around. There is
// none in production.
func (l *Lab) startBroker(ctx context.Context) (err error) {
	dir := l.path("nats")
	if l.admin, err = broker.CopyConfig(l.opts.NATS, dir); err != nil {
		return err
	}
	if l.opts.Nodes == broker.Nodes {
		l.nodes, err = broker.NewClusterFiles(dir, filepath.Join(dir, "cluster.conf"))
	} else {
		l.nodes = make([]*broker.Files, 1)
		l.nodes[0], err = broker.NewFiles(dir, filepath.Join(dir, "nats-server.conf"))
	}
	if err != nil {
		return err
	}
	l.Broker = l.nodes[0]
	if l.opts.Operator {
		if err := l.makeOperator(ctx); err != nil {
			return err
		}
	}
	for _, n := range l.nodes {
		if _, err := l.run(n.Name, func() *exec.Cmd { return n.Command(filepath.Join(l.opts.Bin, "nats-server")) }); err != nil {
			return err
		}
	}
	return nil
}

// AdminKeyFile is the seed (nkey) of an administrator of the tenant's account,
// for looking around. Production has none, nor has a broker in operator mode.
func (l *Lab) AdminKeyFile() string { return l.admin }

func (l *Lab) startConsumers(context.Context) error {
	for i := range l.opts.Consumers {
		command := l.program("consumer", "run", "-config", l.path(consumerName(i), "consumer.yaml"))
		if _, err := l.run(consumerName(i), func() *exec.Cmd { return l.moved(command()) }); err != nil {
			return err
		}
	}
	return nil
}

// moved is a consumer's command as it runs where consumers run.
func (l *Lab) moved(cmd *exec.Cmd) *exec.Cmd {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.move == nil {
		return cmd
	}
	return l.move(cmd)
}

func (l *Lab) startPublishers(context.Context) error {
	for i := range l.apis {
		_, err := l.run(publisherName(i), l.program("publisher", "serve", "-config", l.publisherFile(i)))
		if err != nil {
			return err
		}
	}
	return nil
}

// APIs are the URLs of the publishers, the first of which is APIURL.
func (l *Lab) APIs() []string { return l.apis }

// publisherName is "publisher", "publisher2" and so on.
func publisherName(i int) string {
	if i == 0 {
		return "publisher"
	}
	return fmt.Sprintf("publisher%d", i+1)
}

func (l *Lab) publisherFile(i int) string { return l.path("publisher", publisherName(i)+".yaml") }

func consumerName(i int) string { return fmt.Sprintf("consumer%d", i+1) }

// program returns a function that makes the command of one of our programs.
func (l *Lab) program(name string, args ...string) func() *exec.Cmd {
	return func() *exec.Cmd { return exec.Command(filepath.Join(l.opts.Bin, name), args...) }
}

// call runs one of our programs to its end and returns what it printed.
func (l *Lab) call(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.opts.Bin, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, errs.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// freeAddress returns a loopback address with a port that nothing listens on.
func freeAddress() (string, error) {
	ports, err := testkit.FreePorts(1)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0]), nil
}
