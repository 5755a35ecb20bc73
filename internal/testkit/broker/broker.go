// Package broker starts the real nats-server for tests and the demo, with the
// files of nats/ that production uses: what differs comes from the environment,
// as those files say.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// Files are the keys and certificates of one server, which stay the same when
// it is restarted.
type Files struct {
	Name     string // of the server and of its log
	CAFile   string
	StoreDir string
	Port     int
	WSPort   int // of WebSocket

	dir    string
	config string
	env    []string
}

// Roles that have a user of their own.
var roles = []queue.Role{queue.Publisher, queue.Consumer, queue.Auditor, queue.Provisioner, queue.System}

// NewFiles makes keys and certificates in dir, for a server on a free port of
// 127.0.0.1 that is configured by the file at config.
func NewFiles(dir, config string) (*Files, error) {
	ports, err := testkit.FreePorts(2)
	if err != nil {
		return nil, err
	}
	files, err := newFiles(dir, config, []string{"nats"}, ports)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// Name and Address are what the certificate of every server is for besides this
// machine: what it is called from behind a firewall.
const (
	Name    = "nats.example.com"
	Address = "192.0.2.1"
)

// newFiles makes files for servers with these names, which have the same users
// and the same certificate. Of the ports there are two for each.
func newFiles(dir, config string, names []string, ports []int) ([]*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := pki.New(dir)
	if err != nil {
		return nil, err
	}
	cert, err := ca.Server("nats", []string{"localhost", "127.0.0.1", Name, Address})
	if err != nil {
		return nil, err
	}
	var users []string
	for _, role := range roles {
		public, _, err := queue.MakeNKey(keyFile(dir, role))
		if err != nil {
			return nil, err
		}
		users = append(users, nkeyVariables[role]+"="+public)
	}
	var files []*Files
	for i, name := range names {
		store := filepath.Join(dir, "store")
		if len(names) > 1 {
			store += "-" + name
		}
		f := &Files{Name: name, CAFile: ca.CAFile, StoreDir: store, Port: ports[i], WSPort: ports[len(names)+i], dir: dir, config: config}
		// The server parses these values as configuration, so that paths are quoted.
		f.env = append([]string{
			"WRITEBACK_NATS_NAME=" + name,
			"WRITEBACK_NATS_HOST=127.0.0.1",
			"WRITEBACK_NATS_PORT=" + strconv.Itoa(f.Port),
			"WRITEBACK_WEBSOCKET_PORT=" + strconv.Itoa(f.WSPort),
			"WRITEBACK_NATS_STORE=" + strconv.Quote(f.StoreDir),
			"WRITEBACK_NATS_ACCOUNTS=" + strconv.Quote(store+"-accounts"),
			"WRITEBACK_NATS_CERT=" + strconv.Quote(cert.CertFile),
			"WRITEBACK_NATS_KEY=" + strconv.Quote(cert.KeyFile),
		}, users...)
		files = append(files, f)
	}
	return files, nil
}

// Set gives a variable of the server's configuration another value from its next
// start on.
func (f *Files) Set(variable, value string) { f.env = append(f.env, variable+"="+value) }

// Renew replaces authority, certificate and users of a single server, in the same
// files. The server knows them from its next start on.
func (f *Files) Renew() error {
	for _, role := range roles {
		if err := os.Remove(f.NKeyFile(role)); err != nil {
			return err
		}
	}
	again, err := newFiles(f.dir, f.config, []string{f.Name}, []int{f.Port, f.WSPort})
	if err == nil {
		*f = *again[0]
	}
	return err
}

var nkeyVariables = map[queue.Role]string{
	queue.Publisher:   "WRITEBACK_PUBLISHER_NKEY",
	queue.Consumer:    "WRITEBACK_CONSUMER_NKEY",
	queue.Auditor:     "WRITEBACK_AUDITOR_NKEY",
	queue.Provisioner: "WRITEBACK_PROVISIONER_NKEY",
	queue.System:      "WRITEBACK_SYSTEM_NKEY",
}

// NKeyFile is where a role's seed is.
func (f *Files) NKeyFile(role queue.Role) string { return keyFile(f.dir, role) }

func keyFile(dir string, role queue.Role) string { return filepath.Join(dir, string(role)+".nk") }

// URL is what programs dial.
func (f *Files) URL() string { return fmt.Sprintf("tls://127.0.0.1:%d", f.Port) }

// WebSocketURL is what programs dial that go through WebSocket.
func (f *Files) WebSocketURL() string { return fmt.Sprintf("wss://127.0.0.1:%d", f.WSPort) }

// Config is the configuration of a program's connection.
func (f *Files) Config(role queue.Role) queue.Config {
	return queue.Config{URL: f.URL(), CAFile: f.CAFile, NKeyFile: f.NKeyFile(role)}
}

// Command returns the server as a command that is not started yet.
func (f *Files) Command(binary string) *exec.Cmd {
	cmd := exec.Command(binary, "-c", f.config)
	cmd.Env = append(os.Environ(), f.env...)
	return cmd
}

// A Server is a running nats-server.
type Server struct {
	*Files
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts a server with keys and certificates of its own in dir, and waits
// until it accepts connections. root is the directory of the repository.
func Start(ctx context.Context, dir, root string) (*Server, error) {
	files, err := NewFiles(dir, filepath.Join(root, "nats", "nats-server.conf"))
	if err != nil {
		return nil, err
	}
	return files.Start(ctx, filepath.Join(root, "bin", "nats-server"))
}

// Start starts the server of these files.
func (f *Files) Start(ctx context.Context, binary string) (*Server, error) {
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("nats-server is not built (run `make bin`): %w", err)
	}
	log, err := os.OpenFile(filepath.Join(f.dir, f.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &Server{Files: f, cmd: f.Command(binary), done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that started the process.
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
		}
		close(s.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		s.Kill()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("starting nats-server: %w\n%s", err, text)
	}
	return s, nil
}

func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return backoff.Retry(func() error {
		select {
		case <-s.done:
			return backoff.Permanent(fmt.Errorf("it ended at once: %v", s.err))
		default:
		}
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		if err != nil {
			return err
		}
		return conn.Close()
	}, backoff.WithContext(backoff.NewConstantBackOff(20*time.Millisecond), ctx))
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the server in an orderly way.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server as a crash would.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err == nil || errors.Is(err, os.ErrProcessDone) {
		<-s.done
	}
}
