package clock

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/lab"
	"writeback/internal/testkit"
	"writeback/internal/testkit/pki"
)

// Another version of Go must not lead to programs whose clock is right after
// all.
func TestPatch(t *testing.T) {
	const known = "package time\n\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n"
	got, err := patch(known)
	if err != nil || got != "package time\n\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += testOffset\n\tif mono == 0 {\n" {
		t.Errorf("patch returns %q, %v", got, err)
	}
	for _, text := range []string{
		"package time\n\nfunc Now() Time {\n\tsec, nsec, mono := now()\n", known + known, "",
	} {
		if got, err := patch(text); err == nil {
			t.Errorf("%q is patched to %q, want an error", text, got)
		}
	}
}

// silent starts a TLS server that says nothing, with a certificate that is
// valid from one minute from now.
func silent(t *testing.T) (addr, caFile string) {
	t.Helper()
	ca, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Server("future", []string{"127.0.0.1"}, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert.TLS}})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return ln.Addr().String(), ca.CAFile
}

// What the standard library makes of a clock that is off: certificates are
// judged by it, and nothing that waits takes longer.
func TestOffset(t *testing.T) {
	bin := t.TempDir()
	if err := Build(t.Context(), testkit.Root(t), bin, "./internal/chaos/clock/testdata/probe"); err != nil {
		t.Fatal(err)
	}
	addr, caFile := silent(t)
	tests := []struct {
		name  string
		env   []string
		off   time.Duration
		valid bool // the certificate, by this clock
	}{
		{"not set", nil, 0, false},
		{"ahead", []string{Env(2 * time.Minute)}, 2 * time.Minute, true},
		{"a little ahead", []string{Env(3 * time.Second)}, 3 * time.Second, false},
		{"behind", []string{Env(-time.Hour)}, -time.Hour, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "probe"), addr, caFile)
			cmd.Env = append(os.Environ(), tt.env...)
			before := time.Now()
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(before)
			var got struct {
				Now                 time.Time
				Invalid             bool
				Waited, Took, Until time.Duration
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if off := got.Now.Sub(before); off < tt.off || off > tt.off+took {
				t.Errorf("the clock is off by %s, want %s", off, tt.off)
			}
			if got.Invalid == tt.valid {
				t.Errorf("the certificate is refused: %t, want %t", got.Invalid, !tt.valid)
			}
			if tt.valid && (got.Waited < 90*time.Millisecond || got.Waited > took) {
				t.Errorf("waiting for 100 ms took %s", got.Waited)
			}
			if got.Took < 0 || got.Took > took || -got.Until < 0 || -got.Until > took {
				t.Errorf("the program took %s by its monotonic clock and %s by its wall clock, %s by ours", got.Took, -got.Until, took)
			}
		})
	}
	for _, text := range []string{"1.5s", "60", "soon", ""} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "probe"), addr, caFile)
		cmd.Env = append(os.Environ(), Variable+"="+text)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), Variable) {
			t.Errorf("with the offset %q: %v, %s; want a refusal that names the variable", text, err, out)
		}
	}
}

// programs returns a directory of programs of which the consumer has a clock
// that can be wrong.
func programs(t *testing.T) string {
	t.Helper()
	root, bin := testkit.Root(t), t.TempDir()
	if err := Build(t.Context(), root, bin, "./cmd/consumer"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"publisher", "nats-server"} {
		if err := os.Symlink(filepath.Join(root, "bin", name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// The whole consumer, with its libraries, runs on such a clock: three seconds
// are borne, a minute is refused.
func TestConsumer(t *testing.T) {
	opts := lab.Options{
		Bin: programs(t), NATS: filepath.Join(testkit.Root(t), "nats"), Consumers: 1, Directory: "fake",
	}
	t.Run("three seconds", func(t *testing.T) {
		for _, off := range []time.Duration{3 * time.Second, -3 * time.Second} {
			t.Setenv(Variable, off.String())
			opts.Dir, opts.Out = filepath.Join(t.TempDir(), "lab"), io.Discard
			l, err := lab.Start(t.Context(), opts)
			if err != nil {
				t.Fatalf("with a clock that is off by %s: %v", off, err)
			}
			defer l.Close()
			a, err := l.Reset(t.Context(), http.DefaultClient, l.Directory.Users[0].UPN, "Fresh-1-password")
			if err != nil || a.Code != "applied" {
				t.Errorf("with a clock that is off by %s a reset ends as %q, %v", off, a.Code, err)
			}
		}
	})
	t.Run("a minute", func(t *testing.T) {
		t.Setenv(Variable, "1m")
		opts.Dir, opts.Out = filepath.Join(t.TempDir(), "lab"), io.Discard
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		started := make(chan error)
		go func() {
			l, err := lab.Start(ctx, opts)
			if l != nil {
				l.Close()
			}
			started <- err
		}()
		const complaint = "behind this machine's, at most 5s is allowed"
		var log []byte
		err := backoff.Retry(func() (err error) {
			if log, err = os.ReadFile(filepath.Join(opts.Dir, "logs", "consumer1.log")); err == nil && !bytes.Contains(log, []byte(complaint)) {
				err = errors.New("the consumer does not say so")
			}
			return err
		}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
		if err != nil {
			t.Errorf("%v:\n%s", err, log)
		}
		cancel()
		if err := <-started; err == nil {
			t.Error("the system is ready with a consumer whose clock is a minute ahead")
		}
	})
}
