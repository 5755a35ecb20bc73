// Package prometheus runs Debian's Prometheus for tests, on a loopback address
// and with files of its own, and reads what is written for it and for Grafana.
// The package of Debian is unpacked and not installed, so that its service is
// never started.
package prometheus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/testkit"
)

// startTimeout is how long a start may take, on a machine that does much besides.
const startTimeout = time.Minute

// packages are Prometheus and promtool, and what its pages load.
var packages = []string{"prometheus", "libjs-bootstrap4", "libjs-jquery", "libjs-popper.js", "fonts-glyphicons-halflings"}

// A Server is a Prometheus that runs until it is stopped or this process ends.
type Server struct {
	URL string

	cmd    *exec.Cmd
	ended  chan struct{}
	output *bytes.Buffer // to be read once it has ended
}

// Start runs Prometheus with the configuration file, which names its rules and
// targets, and keeps its data in dir. It returns when it answers.
func Start(ctx context.Context, configFile, dir string) (*Server, error) {
	root, err := testkit.Unpacked(ctx, packages...)
	if err != nil {
		return nil, err
	}
	ports, err := testkit.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	s := &Server{URL: "http://" + address, ended: make(chan struct{}), output: new(bytes.Buffer)}
	s.cmd = exec.Command(filepath.Join(root, "usr/bin/prometheus"),
		"--config.file="+configFile,
		"--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address,
		"--web.local-assets="+filepath.Join(root, "usr/share/prometheus/web"),
		"--log.level=warn")
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that started the process.
		runtime.LockOSThread()
		defer close(s.ended)
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting prometheus: %w", err)
	}
	if err := s.awaitReady(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("starting prometheus: %w: %s", err, s.output)
	}
	return s, nil
}

func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return backoff.Retry(func() error {
		select {
		case <-s.ended:
			return backoff.Permanent(errors.New("it has ended"))
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/-/ready", nil)
		if err != nil {
			return backoff.Permanent(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
}

// Stop ends it. It is safe twice.
func (s *Server) Stop() {
	s.cmd.Process.Kill() // fails if it has ended by itself
	<-s.ended
}

// A Sample is one value of the answer to a query.
type Sample struct {
	Metric map[string]string `json:"metric"` // labels; the name is "__name__"
	Value  [2]any            `json:"value"`  // time in seconds, value as text
}

// Query evaluates an expression now.
func (s *Server) Query(ctx context.Context, expr string) ([]Sample, error) {
	var vector struct{ Result []Sample }
	if err := s.get(ctx, "/api/v1/query?query="+url.QueryEscape(expr), &vector); err != nil {
		return nil, fmt.Errorf("asking for %s: %w", expr, err)
	}
	return vector.Result, nil
}

// An Alert is one that is pending or firing.
type Alert struct {
	Labels, Annotations map[string]string
	State               string
}

// Alerts returns those that are pending or firing.
func (s *Server) Alerts(ctx context.Context) ([]Alert, error) {
	var list struct{ Alerts []Alert }
	if err := s.get(ctx, "/api/v1/alerts", &list); err != nil {
		return nil, fmt.Errorf("asking for alerts: %w", err)
	}
	return list.Alerts, nil
}

// get decodes the data of what the HTTP API answers.
func (s *Server) get(ctx context.Context, path string, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", resp.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// Promtool runs promtool in dir and returns what it prints, also with an error.
func Promtool(ctx context.Context, dir string, args ...string) (string, error) {
	root, err := testkit.Unpacked(ctx, packages...)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "usr/bin/promtool"), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
