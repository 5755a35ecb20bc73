package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

// binaries returns the directory of the built programs.
func binaries(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(testkit.Root(t), "bin")
	for _, name := range []string{"publisher", "consumer", "audit", "demo", "nats-server"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("%v; run `make bin`", err)
		}
	}
	return dir
}

// startLab starts a system of two consumers that ends with the test.
func startLab(t testing.TB, directory string) *Lab {
	t.Helper()
	return startWith(t, Options{Directory: directory})
}

// startNodes starts one whose broker has so many nodes.
func startNodes(t testing.TB, directory string, nodes int) *Lab {
	t.Helper()
	return startWith(t, Options{Nodes: nodes, Directory: directory})
}

// startWith starts one of two consumers, as opts say.
func startWith(t testing.TB, opts Options) *Lab {
	t.Helper()
	out := &output{}
	opts.Bin, opts.NATS = binaries(t), filepath.Join(testkit.Root(t), "nats")
	if opts.Dir == "" {
		opts.Dir = filepath.Join(t.TempDir(), "lab")
	}
	opts.Consumers, opts.Out, opts.Endpoints = 2, out, filepath.Join(t.TempDir(), "endpoints.json")
	l, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatalf("starting the lab: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		l.Close()
		l.tellOnFailure(t)
	})
	return l
}

// tellOnFailure prints all logs of a test that failed.
func (l *Lab) tellOnFailure(t testing.TB) {
	if !t.Failed() {
		return
	}
	logs, _ := filepath.Glob(l.path("logs", "*.log"))
	for _, path := range logs {
		text, _ := os.ReadFile(path)
		t.Logf("%s:\n%s", path, text)
	}
}

// An output is a writer that can be read at the same time.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await tries check until it returns nil, for at most two minutes: a first start
// on a machine makes Samba's root file system, which takes 40 s; all else takes
// less than 15 s.
func await(t testing.TB, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var last error
	err := backoff.Retry(func() error {
		last = check()
		return last
	}, backoff.WithContext(backoff.NewConstantBackOff(20*time.Millisecond), ctx))
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

// A response is what the API answered.
type response struct {
	Answer
	Final  bool   `json:"final"`
	Field  string `json:"field"`
	Header http.Header
	Body   string
}

// post asks for a reset of the account that key names, such as "upn".
func (e *Endpoints) post(ctx context.Context, key, name, password string, headers ...string) (response, error) {
	body, err := json.Marshal(map[string]any{
		"account": map[string]string{key: name}, "password": password,
		"actor": map[string]string{"kind": "admin", "subject": "test"},
	})
	if err != nil {
		return response{}, err
	}
	return e.do(ctx, http.MethodPost, "/v1/resets", bytes.NewReader(body), append([]string{"Prefer: wait=60"}, headers...)...)
}

// do makes a call with the lab's token. A header "Name: value" replaces what
// would be sent, "Name:" leaves it out.
func (e *Endpoints) do(ctx context.Context, method, path string, body io.Reader, headers ...string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.APIURL+path, body)
	if err != nil {
		return response{}, err
	}
	req.Header.Set("Authorization", "Bearer "+e.APIToken)
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		if value = strings.TrimSpace(value); value == "" {
			req.Header.Del(name)
		} else {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return response{}, err
	}
	r := response{Header: resp.Header, Body: string(text)}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("the API answered %s and no JSON: %q", resp.Status, text)
	}
	r.Status = resp.StatusCode
	return r, nil
}

// endpoints reads the file for scripts.
func (l *Lab) endpoints(t testing.TB) *Endpoints {
	t.Helper()
	return readEndpoints(t, l.opts.Endpoints)
}

func readEndpoints(t testing.TB, path string) *Endpoints {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var e Endpoints
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &e
}

// pid returns the process of that name.
func (e *Endpoints) pid(t testing.TB, name string) int {
	t.Helper()
	i := slices.IndexFunc(e.Processes, func(p processEndpoint) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("there is no process %s in %+v", name, e.Processes)
	}
	return e.Processes[i].PID
}

// wantApplied resets the password of one account.
func wantApplied(t testing.TB, e *Endpoints, key, name, password string, headers ...string) response {
	t.Helper()
	r, err := e.post(t.Context(), key, name, password, headers...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != http.StatusOK || r.Code != "applied" {
		t.Fatalf("a reset of %s ended as %s", name, r.Body)
	}
	return r
}

// awaitApplied resets a password as soon as that is possible, to another one at each
// try: one that was set after all would be in the history.
func awaitApplied(t *testing.T, e *Endpoints, what, upn string, headers ...string) (r response) {
	t.Helper()
	await(t, what, func() (err error) {
		r, err = e.post(t.Context(), "upn", upn, "Genuine-"+samba.NewPassword(), headers...)
		if err == nil && r.Code != "applied" {
			err = errors.New(r.Body)
		}
		return err
	})
	return r
}

// operations returns the operations listeners of the programs, by name.
func operations(t testing.TB, dir string, consumers int) map[string]string {
	t.Helper()
	list := make(map[string]string)
	files := map[string]string{"publisher": filepath.Join(dir, "publisher", "publisher.yaml")}
	for i := range consumers {
		files[consumerName(i)] = filepath.Join(dir, consumerName(i), "consumer.yaml")
	}
	for name, path := range files {
		list[name] = fmt.Sprintf("http://%s", readNode(t, path)["operations_listen"])
	}
	return list
}

// metrics returns what a program's operations listener counts.
func metrics(t testing.TB, url string) string {
	t.Helper()
	resp, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s/metrics: %s, %v", url, resp.Status, err)
	}
	return string(text)
}

// sum adds up the values of a series, written as in the exposition format, over
// both consumers.
func (l *Lab) sum(t testing.TB, series string) (total, replicas int) {
	t.Helper()
	for name, url := range operations(t, l.Dir, l.opts.Consumers) {
		if name == "publisher" {
			continue
		}
		for _, line := range strings.Split(metrics(t, url), "\n") {
			var n int
			if rest, ok := strings.CutPrefix(line, series+" "); ok {
				if _, err := fmt.Sscan(rest, &n); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			if total += n; n > 0 {
				replicas++
			}
		}
	}
	return total, replicas
}

// alive reports whether there is a process with that id that has not ended; one
// that nobody has waited for yet counts as ended.
func alive(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// ready returns what the operations listener of a program says that keeps it
// from its work.
func ready(ctx context.Context, name, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s is not ready: %s", name, text)
	}
	return err
}
