package queue_test

import (
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/queue"
)

// TestStolenBrokerUser gives each role another nkey, as docs/keys.md says. The
// old one is then good for nothing, a connection that was made with it ends, and
// the other roles notice a restart of the broker.
func TestStolenBrokerUser(t *testing.T) {
	t.Parallel()
	variables := map[queue.Role]string{
		queue.Publisher: "WRITEBACK_PUBLISHER_NKEY", queue.Consumer: "WRITEBACK_CONSUMER_NKEY", queue.Auditor: "WRITEBACK_AUDITOR_NKEY",
		queue.Provisioner: "WRITEBACK_PROVISIONER_NKEY", queue.System: "WRITEBACK_SYSTEM_NKEY",
	}
	for role, variable := range variables {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			s := bare(t)
			ours := connect(t, s.Config(role), role)
			stolen := s.Config(role)
			stolen.NKeyFile += ".stolen"
			if err := os.Rename(s.NKeyFile(role), stolen.NKeyFile); err != nil {
				t.Fatal(err)
			}
			thief := connect(t, stolen, role)

			public, made, err := queue.MakeNKey(s.NKeyFile(role))
			if err != nil || !made {
				t.Fatalf("MakeNKey = %t, %v", made, err)
			}
			s.Set(variable, public)
			s.Stop()
			restart(t, s)

			if err := ours.AwaitConnected(within(t, 20*time.Second)); err != nil {
				t.Errorf("with the new key: %v", err)
			}
			for other := range variables {
				connect(t, s.Config(other), other)
			}
			wantError(t, dial(t, stolen, role, zerolog.Nop()).AwaitConnected(within(t, time.Second)), "Authorization Violation")
			if err := thief.Check(t.Context()); err == nil {
				t.Error("the thief is still connected")
			}
		})
	}
}
