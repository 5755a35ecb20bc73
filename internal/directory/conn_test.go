package directory

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/fakead"
)

// pair returns a wire and what is at its other end.
func pair(t *testing.T) (*wire, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w, err := dial(t.Context(), nil, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	return w, peer.(*net.TCPConn)
}

func TestWireSent(t *testing.T) {
	w, peer := pair(t)
	if w.sent.Load() {
		t.Error("a new wire has sent something")
	}
	if _, err := w.Write([]byte("x")); err != nil || !w.sent.Load() {
		t.Errorf("sent is %t after a write, %v", w.sent.Load(), err)
	}
	peer.SetLinger(0)
	peer.Close()
	if _, err := w.Read(make([]byte, 1)); err == nil { // until the reset is here
		t.Fatal("read something")
	}
	w.sent.Store(false)
	if _, err := w.Write([]byte("x")); err == nil || w.sent.Load() {
		t.Errorf("sent is %t after a write that the kernel refused with %v", w.sent.Load(), err)
	}
	w.sent.Store(true)
	if _, err := w.Write([]byte("x")); err == nil || !w.sent.Load() {
		t.Error("a refused write took back what an earlier one sent")
	}
}

func TestWireReadLimit(t *testing.T) {
	w, peer := pair(t)
	w.left.Store(3)
	if _, err := peer.Write([]byte("abcdef")); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(iotest.OneByteReader(w))
	if string(b) != "abc" || err == nil {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestUnicodePwd(t *testing.T) {
	for password, want := range map[string]string{
		"aB": "220061004200" + "2200", "ü": "2200fc002200", "\U0001F511": "22003dd811dd2200", `"`: "220022002200",
	} {
		if got := hex.EncodeToString(unicodePwd([]byte(password))); got != want {
			t.Errorf("%q is %s, want %s", password, got, want)
		}
	}
}

func TestCheckClock(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for theirs, want := range map[string]string{
		"20261122100000.0Z": "", "20261122100004.0Z": "", "20261122095955.0Z": "",
		"20261122100006.0Z": "6.5s ahead of", "20261122095954.0Z": "5.5s behind",
		"20271122100000.0Z": "8760h0m0.5s ahead of",
		"":                  "malformed", "20261122100000Z": "malformed", "yesterday": "malformed",
	} {
		err := checkClock(theirs, now)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", theirs, err, want)
		}
	}
}

func TestRefusal(t *testing.T) {
	r := newRefusal()
	wrong, other := secret.New([]byte("wrong")), secret.New([]byte("other"))
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	if err := r.check(wrong, now); err != nil {
		t.Errorf("before any refusal: %v", err)
	}
	for _, wait := range []time.Duration{time.Minute, 4 * time.Minute, 16 * time.Minute, time.Hour, time.Hour} {
		r.note(wrong, true, now, now)
		if err := r.check(wrong, now.Add(wait-time.Second)); err == nil {
			t.Errorf("tried again within %s", wait)
		}
		if err := r.check(other, now); err != nil {
			t.Errorf("a changed password is not tried: %v", err)
		}
		now = now.Add(wait)
		if err := r.check(wrong, now); err != nil {
			t.Errorf("not tried again after %s: %v", wait, err)
		}
	}
	r.note(other, true, now, now)
	if r.wait != firstRefusalWait {
		t.Errorf("another password waits %s, want %s", r.wait, firstRefusalWait)
	}
	r.prove(other)
	if err := r.check(other, now); err != nil {
		t.Errorf("after a bind that succeeded: %v", err)
	}
}

// A refusal that nobody heard: of the attempts that follow, the first does not
// wait.
func TestUnheard(t *testing.T) {
	r := newRefusal()
	wrong, other := secret.New([]byte("wrong")), secret.New([]byte("other"))
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	r.note(other, true, now, now)
	for _, wait := range []time.Duration{0, 4 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		r.note(wrong, false, now, now)
		if err := r.check(wrong, now.Add(wait-time.Second)); wait > 0 && (err == nil || strings.Contains(err.Error(), "refused")) {
			t.Errorf("within %s: %v, want that there was no answer", wait, err)
		}
		now = now.Add(wait)
		if err := r.check(wrong, now); err != nil {
			t.Errorf("not tried again after %s: %v", wait, err)
		}
	}
	r.note(wrong, true, now, now)
	if err := r.check(wrong, now); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want that it was refused", err)
	}
}

// Attempts that began when the password was still proven, and were not heard of,
// are one.
func TestUnheardBeside(t *testing.T) {
	r := newRefusal()
	password := secret.New([]byte("right"))
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	r.prove(password)
	for n := range time.Duration(4) {
		now := began.Add(time.Second + n)
		r.note(password, false, began, now)
		if err := r.check(password, now); err != nil || r.proven(password) {
			t.Errorf("proven %t, %v, want one more attempt", r.proven(password), err)
		}
	}
	r.note(password, true, began, began.Add(2*time.Second))
	if err := r.check(password, began.Add(2*time.Second)); err == nil {
		t.Error("one of them was refused, and it is tried again")
	}
	r.prove(password)
	if err := r.check(password, began.Add(2*time.Second)); err != nil || !r.proven(password) || r.proven(secret.New([]byte("other"))) {
		t.Errorf("after a success: proven %t, %v", r.proven(password), err)
	}
}

// What did not leave this machine was not refused.
func TestBindNotSent(t *testing.T) {
	fake, err := fakead.Start(fakead.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	cfg := valid(t)
	cfg.URLs, cfg.CAFile = []string{fake.Directory().URL}, fake.Directory().CAFile
	c, err := New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, sent := range []bool{false, true} {
		cn, err := c.open(t.Context(), c.controllers[0])
		if err != nil {
			t.Fatal(err)
		}
		if sent {
			fake.Inject(fakead.Bind, fakead.Fault{Skip: true, Reply: fakead.Cut})
		} else {
			cn.close()
		}
		if err := c.signIn(t.Context(), cn, secret.New([]byte("x")), time.Now()); err == nil {
			t.Fatal("signed in")
		}
		if noted := c.refused.mac != nil; noted != sent {
			t.Errorf("the password is in doubt: %t, want %t", noted, sent)
		}
		cn.close()
	}
}

func TestIdle(t *testing.T) {
	fake, err := fakead.Start(fakead.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	dir := fake.Directory()
	var log bytes.Buffer
	client, err := New(Config{
		URLs: []string{dir.URL}, CAFile: dir.CAFile, BindDN: dir.ServiceDN, PasswordFile: "password",
		ReadSecret: func(string) (secret.Value, error) { return secret.New([]byte(dir.ServicePassword)), nil },
	}, zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	// use lends n connections at once and gives them back.
	use := func(n, wantAccepted int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var sessions []*Session
		for range n {
			s, err := client.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
		}
		for _, s := range sessions {
			s.End()
		}
		if _, accepted := fake.Connections(); accepted != wantAccepted {
			t.Errorf("%d connections so far, want %d", accepted, wantAccepted)
		}
	}
	use(3, 3)
	use(3, 3)

	cut := fake.Inject(fakead.Search, fakead.Fault{Reply: fakead.Cut})
	use(3, 3) // not tested: the fault still waits
	client.Pass(idleLimit + time.Second)
	use(1, 4) // tested, failed, all of them replaced
	<-cut.Done()
	if !strings.Contains(log.String(), "idle connection is unusable") {
		t.Errorf("the log does not say it:\n%s", &log)
	}
	client.Pass(idleLimit + time.Second)
	use(1, 4) // tested and good
}

func TestSecretFileError(t *testing.T) {
	c := valid(t)
	path := filepath.Join(t.TempDir(), "missing")
	c.PasswordFile = path
	c.ReadSecret = func(path string) (secret.Value, error) {
		_, err := os.ReadFile(path)
		return secret.Value{}, err
	}
	client, err := New(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	err = client.Check(t.Context())
	if !errors.Is(err, reset.ErrDirectoryUnavailable) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want the path", err)
	}
}
