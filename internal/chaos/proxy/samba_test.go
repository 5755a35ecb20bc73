package proxy

import (
	"context"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/testkit/samba"
)

// The same cuts before a real domain controller: what has arrived is carried
// out, also when whoever asked for it has gone.
func TestSamba(t *testing.T) {
	dir, end, err := samba.Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	p := start(t, Options{Target: dir.URL[len("ldaps://"):], Protocol: LDAP, CAFile: dir.CAFile, Dir: t.TempDir()})
	tests := []struct {
		name    string
		fault   Fault
		applied bool
	}{
		{"before the modify", Fault{Match: modifies, Do: Cut}, false},
		{"in the middle of it", Fault{Match: modifies, Do: Tear}, false},
		{"after it", Fault{Match: modifies, Do: CutAfter}, true},
		{"before its answer", Fault{Match: modified, Do: Cut}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			user, err := samba.NewUser(t.Context(), dir, samba.UserSpec{})
			if err != nil {
				t.Fatal(err)
			}
			conn := bind(t, p, dir)
			p.Inject(tt.fault)
			fresh := samba.NewPassword()
			if err := setPassword(conn, user.DN, fresh); !wasReset(err) {
				t.Fatalf("the client is told %v, want a reset", err)
			}
			inForce := user.Password
			if tt.applied {
				inForce = fresh
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := backoff.Retry(func() error {
				conn, err := samba.Bind(dir, user.DN, inForce)
				if err == nil {
					conn.Close()
				}
				return err
			}, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx)); err != nil {
				t.Errorf("what should be in force is not: %v", err)
			}
		})
	}
}
