package lab

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"writeback/internal/chaos/clock"
	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// A fault is a row of the table: what is wrong, and how it is put right. Where
// nothing is put right, mend is nil.
type fault struct {
	name      string
	directory string
	mount     []string // small disks, below the lab's directory
	wreck     func(tr *trial) (mend func())
}

func faults() []fault {
	return []fault{
		{name: "broker away", wreck: func(tr *trial) func() { return tr.awayFor(tr.T, "nats") }},
		{name: "both consumers away", wreck: func(tr *trial) func() {
			one, two := tr.awayFor(tr.T, "consumer1"), tr.awayFor(tr.T, "consumer2")
			return func() { one(); two() }
		}},
		{name: "all domain controllers away", directory: "fake-pair", wreck: func(tr *trial) func() {
			tr.fake.Close()
			tr.second.Close()
			return func() { tr.must(errors.Join(tr.fake.Restart(), tr.second.Restart())) }
		}},
		{name: "one of two domain controllers away", directory: "fake-pair", wreck: func(tr *trial) func() {
			tr.fake.Close()
			return func() { tr.must(tr.fake.Restart()) }
		}},
		{name: "broker's certificate expired", wreck: brokerExpires},
		{name: "domain controller's certificate expired", wreck: func(tr *trial) func() {
			tr.must(tr.fake.Certify(expired))
			tr.fake.Close()
			tr.must(tr.fake.Restart())
			return func() { tr.must(tr.fake.Certify()) }
		}},
		{name: "service account's password changed", wreck: func(tr *trial) func() {
			const fresh = "Another-Word-For-Service-1"
			tr.must(tr.fake.SetPassword("svc-writeback", fresh))
			tr.fake.Close() // which ends the connections that were signed in
			tr.must(tr.fake.Restart())
			return func() {
				for i := range tr.opts.Consumers {
					tr.must(os.WriteFile(tr.path(consumerName(i), "ad-password"), []byte(fresh+"\n"), 0o600))
				}
			}
		}},
		{name: "policy file broken", wreck: func(tr *trial) func() {
			var mend []func()
			for i := range tr.opts.Consumers {
				path := tr.path(consumerName(i), "policy.yaml")
				whole, err := os.ReadFile(path)
				tr.must(err)
				tr.must(os.WriteFile(path, append(slices.Clone(whole), "typo: 1\n"...), 0o600))
				mend = append(mend, func() { tr.must(os.WriteFile(path, append(whole, '\n'), 0o600)) })
			}
			return func() {
				for _, f := range mend {
					f()
				}
			}
		}},
		{name: "consumer killed", wreck: func(tr *trial) func() {
			tr.must(syscall.Kill(tr.endpoints(tr.T).pid(tr.T, "consumer1"), syscall.SIGKILL))
			return nil
		}},
		{name: "publisher killed", wreck: func(tr *trial) func() {
			tr.must(syscall.Kill(tr.endpoints(tr.T).pid(tr.T, "publisher"), syscall.SIGKILL))
			return nil
		}},
		{name: "broker's disk full", mount: []string{"nats/store"}, wreck: func(tr *trial) func() {
			empty := tr.fill("nats/store")
			return func() {
				empty()
				tr.awayFor(tr.T, "nats")() // it stores nothing more until it is started again
			}
		}},
		{name: "disk of the logs full", mount: []string{"logs"}, wreck: func(tr *trial) func() { return tr.fill("logs") }},
		{name: "runtime_dir full", wreck: func(tr *trial) func() { return tr.runtimeDir("size=4k") }},
		{name: "runtime_dir cannot be written", wreck: func(tr *trial) func() { return tr.runtimeDir("ro") }},
		{name: "broker user revoked", wreck: brokerUserRevoked},
		{name: "consumers' clocks wrong", wreck: clocksWrong},
	}
}

// TestFaults makes one fault after the other, and holds what is logged, what callers
// and the page are told, what health says and how it comes back against the table in
// docs/faults.md, in both directions.
func TestFaults(t *testing.T) {
	t.Parallel()
	rows := sheets(t)
	for _, f := range faults() {
		row, ok := rows[f.name]
		delete(rows, f.name)
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if !ok {
				t.Fatalf("docs/faults.md has no row %q", f.name)
			}
			f.try(t, row)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		if !slices.Contains(triedElsewhere(), name) {
			t.Errorf("nobody makes the fault %q of docs/faults.md", name)
		}
	}
}

// triedElsewhere are rows that have tests of their own.
func triedElsewhere() []string { return []string{"certificate of the API expired"} }

func (f fault) try(t *testing.T, row sheet) {
	opts := Options{Directory: f.directory}
	if f.directory == "" {
		opts.Directory = "fake"
	}
	l := startMounted(t, opts, f.mount)
	tr := &trial{T: t, Lab: l, e: l.endpoints(t), sheet: row, url: operations(t, l.Dir, l.opts.Consumers)}
	tr.begin()
	begun := time.Now()
	mend := f.wreck(tr)
	tr.during()
	if mend == nil {
		mend = func() {}
	} else {
		t.Logf("everything seen after %s", time.Since(begun).Round(100*time.Millisecond))
		begun = time.Now()
	}
	mend()
	tr.after()
	t.Logf("well again after %s", time.Since(begun).Round(100*time.Millisecond))
}

func (tr *trial) must(err error) {
	tr.Helper()
	if err != nil {
		tr.Fatal(err)
	}
}

// startMounted starts a lab with disks of 24 MB below its directory, which end with
// the test.
func startMounted(t *testing.T, opts Options, below []string) *Lab {
	t.Helper()
	if len(below) == 0 {
		return startWith(t, opts)
	}
	opts.Dir = filepath.Join(t.TempDir(), "lab")
	for _, name := range below {
		mount(t, filepath.Join(opts.Dir, name), "size=24m")
	}
	return startWith(t, opts)
}

// mount mounts a file system in memory at dir until the test ends.
func mount(t *testing.T, dir, data string) (unmount func()) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, data+",mode=0700"); err != nil {
		t.Fatalf("mounting at %s (this needs root): %v", dir, err)
	}
	unmount = func() { syscall.Unmount(dir, syscall.MNT_DETACH) }
	t.Cleanup(unmount)
	return unmount
}

// fill fills a disk until empty is called.
func (tr *trial) fill(below string) (empty func()) {
	tr.Helper()
	path := tr.path(below, "filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	tr.must(err)
	for _, size := range []int{1 << 16, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			tr.Fatal(err)
		}
		err = nil
	}
	tr.must(f.Close())
	return func() { tr.must(os.Remove(path)) }
}

// runtimeDir has the first consumer start with a runtime_dir that is mounted so.
func (tr *trial) runtimeDir(data string) (mend func()) {
	tr.Helper()
	back := tr.awayFor(tr.T, "consumer1")
	unmount := mount(tr.T, filepath.Join(tr.runtime, "consumer1"), data)
	if data != "ro" {
		tr.must(os.WriteFile(filepath.Join(tr.runtime, "consumer1", "filler"), make([]byte, 1), 0o600))
	}
	back()
	return unmount
}

// expired makes a certificate end a minute ago.
func expired(c *x509.Certificate) {
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
}

// brokerExpires restarts the broker with a certificate that has ended, and mends that
// with another one and a reload.
func brokerExpires(tr *trial) (mend func()) {
	tr.Helper()
	authority, err := pki.New(tr.T.TempDir())
	tr.must(err)
	certify := func(opts ...pki.Option) {
		tr.Helper()
		cert, err := authority.Server("nats", []string{"127.0.0.1"}, opts...)
		tr.must(err)
		dir := filepath.Dir(tr.Broker.CAFile)
		for from, to := range map[string]string{cert.CertFile: "nats.pem", cert.KeyFile: "nats.key", authority.CAFile: "ca.pem"} {
			text, err := os.ReadFile(from)
			tr.must(err)
			tr.must(os.WriteFile(filepath.Join(dir, to), text, 0o600))
		}
	}
	certify(expired)
	tr.awayFor(tr.T, "nats")()
	return func() {
		certify()
		tr.must(syscall.Kill(tr.endpoints(tr.T).pid(tr.T, "nats"), syscall.SIGHUP))
	}
}

// brokerUserRevoked has the broker forget the consumers' key, and mends that.
func brokerUserRevoked(tr *trial) (mend func()) {
	tr.Helper()
	const variable = "WRITEBACK_CONSUMER_NKEY" // of nats/nats-server.conf
	ours, _, err := queue.MakeNKey(tr.Broker.NKeyFile(queue.Consumer))
	tr.must(err)
	other, _, err := queue.MakeNKey(filepath.Join(tr.T.TempDir(), "other.nk"))
	tr.must(err)
	tr.Broker.Set(variable, other)
	tr.awayFor(tr.T, "nats")()
	return func() {
		tr.Broker.Set(variable, ours)
		tr.awayFor(tr.T, "nats")()
	}
}

// clocksWrong runs both consumers with a clock that is a minute ahead.
func clocksWrong(tr *trial) (mend func()) {
	tr.Helper()
	bin := tr.T.TempDir()
	tr.must(clock.Build(tr.Context(), testkit.Root(tr.T), bin, "./cmd/consumer"))
	mend = func() {}
	for i := range tr.opts.Consumers {
		name := consumerName(i)
		right, next := tr.awayFor(tr.T, name), mend
		_, err := tr.run(name, func() *exec.Cmd {
			cmd := exec.Command(filepath.Join(bin, "consumer"), "run", "-config", tr.path(name, "consumer.yaml"))
			cmd.Env = append(os.Environ(), clock.Env(time.Minute))
			return cmd
		})
		tr.must(err)
		mend = func() {
			next()
			tr.leave(tr.named(tr.T, name))
			right()
		}
	}
	return mend
}

// TestAPIExpires has the certificate of the API end, and replaces it.
func TestAPIExpires(t *testing.T) {
	t.Parallel()
	row := sheets(t)["certificate of the API expired"]
	l := startLab(t, "fake")
	authority, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certify := func(opts ...pki.Option) *pki.Server {
		c, err := authority.Server("api", []string{"127.0.0.1"}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	good := certify()
	f := l.startFrontDoor(t, "expiring", node{"tls": node{"cert_file": good.CertFile, "key_file": good.KeyFile}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}}
	call := func() map[string]bool {
		resp, err := client.Get(f.APIURL + "/v1/nothing")
		if err != nil {
			return map[string]bool{"API says: " + err.Error(): true}
		}
		resp.Body.Close()
		return nil
	}
	tr := &trial{T: t, Lab: l, e: l.endpoints(t), sheet: row, url: map[string]string{"publisher": f.operations}, from: make(map[string]int)}
	logs := func() map[string]bool {
		all := make(map[string]bool)
		for line := range bytes.Lines(l.logOf(t, "expiring")) {
			text, complaint := readable(line)
			all["publisher "+text] = complaint
		}
		return all
	}
	if said := call(); len(said) > 0 {
		t.Fatalf("before: %v", said)
	}
	certify(expired) // in the place of the good one
	tr.awaitAll("what callers see", row.told.certain, call)
	tr.awaitAll("health", row.health.certain, tr.unwell)
	tr.nothingElse("health", row.health, tr.unwell())
	certify()
	await(t, "callers being served", func() error {
		if said := call(); len(said) > 0 {
			return fmt.Errorf("%v", said)
		}
		return nil
	})
	tr.awaitAll("the log of the return", row.back.certain, logs)
	complaints := logs()
	maps.DeleteFunc(complaints, func(_ string, complaint bool) bool { return !complaint })
	tr.nothingElse("logged", row.logged, complaints)
	if left := tr.unwell(); len(left) > 0 {
		t.Errorf("afterwards: %v", left)
	}
}
