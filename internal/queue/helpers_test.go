package queue_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

func binary(t *testing.T) string { return filepath.Join(testkit.Root(t), "bin", "nats-server") }

// within returns a context that outlasts what it is for, on a busy machine.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// bare starts a broker of the test's own that holds nothing yet.
func bare(t *testing.T) *broker.Server {
	t.Helper()
	s, err := broker.Start(t.Context(), t.TempDir(), testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// start starts a broker of the test's own, with the tenant's streams.
func start(t *testing.T) *broker.Server {
	t.Helper()
	s := bare(t)
	provision(t, s)
	return s
}

// provision returns what Provision says.
func provision(t *testing.T, s *broker.Server) []string {
	t.Helper()
	var lines []string
	conn := connect(t, s.Config(queue.Provisioner), queue.Provisioner)
	if err := conn.Provision(within(t, 20*time.Second), 1, queue.DefaultKeep, func(line string) { lines = append(lines, line) }); err != nil {
		t.Fatal(err)
	}
	return lines
}

// restart starts the broker again, on the same port and store.
func restart(t *testing.T, s *broker.Server) {
	t.Helper()
	again, err := s.Start(t.Context(), binary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Kill)
}

// connect returns a connection that is up.
func connect(t *testing.T, cfg queue.Config, role queue.Role) *queue.Conn {
	t.Helper()
	conn := dial(t, cfg, role, zerolog.Nop())
	if err := conn.AwaitConnected(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// dial returns a connection that may not be up yet.
func dial(t *testing.T, cfg queue.Config, role queue.Role, log zerolog.Logger) *queue.Conn {
	t.Helper()
	conn, err := queue.Connect(cfg, role, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func publisher(t *testing.T, s *broker.Server) *queue.Tenant {
	t.Helper()
	return connect(t, s.Config(queue.Publisher), queue.Publisher).Tenant("corp")
}

func consumer(t *testing.T, s *broker.Server) *queue.Tenant {
	t.Helper()
	return connect(t, s.Config(queue.Consumer), queue.Consumer).OnPremises("corp")
}

// raw connects as a role without our own code in between.
func raw(t *testing.T, s *broker.Server, role queue.Role, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return rawAs(t, s, user{role: role, key: s.NKeyFile(role)}, opts...)
}

// rawAs connects as a user of any tenant.
func rawAs(t *testing.T, s *broker.Server, u user, opts ...nats.Option) *nats.Conn {
	t.Helper()
	key, err := queue.LoadNKey(u.key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	signIn := nats.Nkey(public, key.Sign)
	if u.credentials {
		signIn = nats.UserCredentials(u.key)
	}
	opts = append(opts, signIn, nats.Secure(&tls.Config{RootCAs: pool(t, s)}),
		nats.TLSHandshakeFirst(), nats.CustomInboxPrefix("_IN."+string(u.role)))
	nc, err := nats.Connect(s.URL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func pool(t *testing.T, s *broker.Server) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the authority's file")
	}
	return pool
}

// operator is JetStream as the provisioner may use it.
func operator(t *testing.T, s *broker.Server) jetstream.JetStream {
	t.Helper()
	return jetStream(t, raw(t, s, queue.Provisioner))
}

func jetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// subjects says how many messages a stream holds, subject by subject.
func subjects(t *testing.T, js jetstream.JetStream, stream string) map[string]uint64 {
	t.Helper()
	s, err := js.Stream(within(t, 10*time.Second), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(within(t, 10*time.Second), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects
}

func ref() reset.Ref { return reset.Ref{Publisher: "p1", ID: reset.NewID()} }

func slot() [16]byte { return [16]byte(reset.NewID()) }

// A journal is a log whose lines can be awaited.
type journal struct {
	mu      sync.Mutex
	text    strings.Builder
	written chan struct{}
}

func newJournal() *journal { return &journal{written: make(chan struct{})} }

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.written)
	j.written = make(chan struct{})
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// forget empties the log.
func (j *journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Reset()
}

// await waits until the log holds text.
func (j *journal) await(t *testing.T, text string) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for {
		j.mu.Lock()
		now, written := j.text.String(), j.written
		j.mu.Unlock()
		if strings.Contains(now, text) {
			return
		}
		select {
		case <-written:
		case <-ctx.Done():
			t.Fatalf("the log does not hold %q:\n%s", text, now)
		}
	}
}
