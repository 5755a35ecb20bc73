package directory_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
)

const newPassword = "c4nary-Password"

// bench is a fake domain and a client of it.
type bench struct {
	fake   *fakead.Server
	dir    testkit.Directory
	user   testkit.User
	client *directory.Client
	log    *syncBuffer
}

// setup starts a fake domain and a client that goes through f, if there is one.
func setup(t *testing.T, f *front, change func(*directory.Config)) *bench {
	t.Helper()
	return setupWith(t, fakead.Options{}, f, change)
}

func setupWith(t *testing.T, opts fakead.Options, f *front, change func(*directory.Config)) *bench {
	t.Helper()
	fake := startFake(t, opts)
	b := &bench{fake: fake, dir: fake.Directory(), log: &syncBuffer{}}
	b.user = b.dir.Users[0]
	reach := b.dir
	if f != nil {
		reach = startFront(t, b.dir, f).dir
	}
	cfg := config(t, reach)
	if change != nil {
		change(&cfg)
	}
	var err error
	if b.client, err = directory.New(cfg, zerolog.New(b.log)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.Close)
	return b
}

// found begins a session and finds the user.
func (b *bench) found(t *testing.T) (*directory.Session, reset.Entry) {
	t.Helper()
	s, err := b.client.Begin(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.End)
	e, err := s.Find(t.Context(), account(t, reset.UPN, b.user.UPN))
	if err != nil {
		t.Fatal(err)
	}
	return s, e
}

// reset does all of it in a session of its own.
func (b *bench) reset(t *testing.T, password string) error {
	t.Helper()
	s, e := b.found(t)
	defer s.End()
	return s.SetPassword(t.Context(), e, secret.New([]byte(password)))
}

func account(t *testing.T, kind reset.NameKind, value string) reset.Account {
	t.Helper()
	a, err := reset.NewAccount(kind, value)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t *testing.T, err error, want reset.Code) reset.Outcome {
	t.Helper()
	o, ok := reset.OutcomeOf(err)
	if !ok || o.Code != want {
		t.Errorf("got %v, want %s", err, want)
	}
	return o
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %q", err, want)
	}
	other := reset.ErrUnanswered
	if want == other {
		other = reset.ErrDirectoryUnavailable
	}
	if errors.Is(err, other) {
		t.Errorf("%v is %q too", err, other)
	}
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	await string
	then  func()
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.then != nil && bytes.Contains(p, []byte(b.await)) {
		b.then()
	}
	return b.buf.Write(p)
}

// onLine has then called for every line with this text from now on.
func (b *syncBuffer) onLine(text string, then func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.await, b.then = text, then
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
