package broker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
)

func TestCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := broker.StartCluster(ctx, filepath.Join(t.TempDir(), "odd, #name = {1}"), root)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Every user is let in by every node.
	for n := range broker.Nodes {
		for _, role := range []queue.Role{queue.Publisher, queue.Consumer, queue.Provisioner, queue.System} {
			await(t, c.Node(n).Config(role), role)
		}
	}
	provision(t, c)
	if err := c.AwaitInStep(ctx); err != nil {
		t.Fatal(err)
	}

	before, err := c.Leader(ctx, "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StepDown(ctx, "RECORDS"); err != nil {
		t.Fatal(err)
	}
	after, err := c.Leader(ctx, "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	if before == after {
		t.Errorf("node %d leads RECORDS before and after it stepped down", before)
	}

	c.Kill(after)
	if next, err := c.Leader(ctx, "RECORDS"); err != nil || next == after {
		t.Errorf("after a crash of node %d: node %d leads RECORDS (%v)", after, next, err)
	}
	if err := c.Restart(ctx, after); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitInStep(ctx); err != nil {
		t.Fatal(err)
	}

	ended, err := c.LameDuck(0)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatal("a node that was told to send its clients away has not ended")
	}
	c.Stop(1)
	if err := c.Signal(1, 0); err != syscall.ESRCH {
		t.Errorf("a node that was stopped: got %v, want it gone", err)
	}
	for n := range 2 {
		if err := c.Restart(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AwaitInStep(ctx); err != nil {
		t.Fatal(err)
	}
}

func provision(t *testing.T, c *broker.Cluster) {
	t.Helper()
	conn, err := queue.Connect(c.Config(queue.Provisioner), queue.Provisioner, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := conn.AwaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	if err := conn.Provision(ctx, broker.Nodes, queue.DefaultKeep, func(string) {}); err != nil {
		t.Fatal(err)
	}
}

// TestRoutes: what listens for the other nodes lets nobody in whose certificate
// is not of the routes' own authority, even one that programs trust.
func TestRoutes(t *testing.T) {
	dir := t.TempDir()
	c, err := broker.StartCluster(t.Context(), dir, root)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	log, err := os.ReadFile(c.Log(0))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Listening for route connections on (127\.0\.0\.1:\d+)`).FindSubmatch(log)
	if found == nil {
		t.Fatalf("the log does not say where routes are listened for:\n%s", log)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "routes", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	join := func(certs ...tls.Certificate) error {
		conn, err := tls.Dial("tcp", string(found[1]), &tls.Config{RootCAs: pool, Certificates: certs})
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		// What the server says of a certificate comes with the first read.
		_, err = fmt.Fprintf(conn, "PING\r\n")
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		return err
	}
	pair := func(dir, name string) tls.Certificate {
		t.Helper()
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	if err := join(); err == nil {
		t.Error("who has no certificate is let in")
	}
	if err := join(pair(dir, "nats")); err == nil {
		t.Error("a certificate of the listeners' authority is let in")
	}
	if err := join(pair(filepath.Join(dir, "routes"), "nats2")); err != nil {
		t.Errorf("a node's own certificate: %v", err)
	}
}
