package lab

import (
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"writeback/internal/chaos/clock"
	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

func (tr *trial) must(err error) {
	tr.Helper()
	if err != nil {
		tr.Fatal(err)
	}
}

// replace gives a file another text, at no time a part of it.
func (tr *trial) replace(path string, text []byte) {
	tr.Helper()
	tr.must(os.WriteFile(path+".new", text, 0o600))
	tr.must(os.Rename(path+".new", path))
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
