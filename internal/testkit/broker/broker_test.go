package broker_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
)

const root = "../../.."

func TestStart(t *testing.T) {
	// The server parses what the environment says as configuration.
	s, err := broker.Start(t.Context(), filepath.Join(t.TempDir(), "odd, #name = {1}"), root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	for _, role := range []queue.Role{queue.Publisher, queue.Consumer, queue.Auditor, queue.Provisioner, queue.System} {
		await(t, s.Config(role), role)
	}

	// The same files start it again, on the same port, after a crash and
	// after a stop.
	for _, end := range []func(*broker.Server){(*broker.Server).Kill, (*broker.Server).Stop} {
		end(s)
		end(s) // twice does no harm
		if err := syscall.Kill(s.PID(), 0); err == nil {
			t.Errorf("process %d is still there", s.PID())
		}
		if s, err = s.Start(t.Context(), filepath.Join(root, "bin", "nats-server")); err != nil {
			t.Fatal(err)
		}
		defer s.Kill()
		await(t, s.Config(queue.Consumer), queue.Consumer)
	}
}

func await(t *testing.T, cfg queue.Config, role queue.Role) {
	t.Helper()
	conn, err := queue.Connect(cfg, role, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := conn.AwaitConnected(ctx); err != nil {
		t.Errorf("%s: %v", role, err)
	}
}

func TestStartRefused(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.conf")
	if err := os.WriteFile(broken, []byte("port: $WRITEBACK_NOWHERE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, server := filepath.Join(root, "nats", "nats-server.conf"), filepath.Join(root, "bin", "nats-server")
	tests := []struct {
		name           string
		config, binary string
		want           string
	}{
		{"not built", config, filepath.Join(t.TempDir(), "nats-server"), "make bin"},
		{"a broken configuration", broken, server, "WRITEBACK_NOWHERE"},
		{"no configuration", filepath.Join(t.TempDir(), "none.conf"), server, "none.conf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files, err := broker.NewFiles(t.TempDir(), tt.config)
			if err != nil {
				t.Fatal(err)
			}
			s, err := files.Start(t.Context(), tt.binary)
			if err == nil {
				s.Kill()
				t.Fatal("it starts, want an error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want it to hold %q", err, tt.want)
			}
		})
	}
}
