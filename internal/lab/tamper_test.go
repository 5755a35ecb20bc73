package lab

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
)

// TestTamperedStream makes the stream of records anew, as the owner of the broker
// can, with one thing changed each time.
func TestTamperedStream(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	o := &owner{inspect(t, l.endpoints(t)), l, l.endpoints(t)}
	for i, user := range l.Directory.Users[:5] {
		wantApplied(t, o.e, "upn", user.UPN, fmt.Sprintf("Genuine-Word-%d", i))
	}
	l.stopPrograms()
	config := l.AuditFile()
	records, err := o.js.Stream(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	settings := records.CachedInfo().Config
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= records.CachedInfo().State.LastSeq; seq++ {
		m, err := records.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	if len(all) != 15 {
		t.Fatalf("there are %d records, want 15", len(all))
	}
	stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 99), consumerName(0))
	signed := func(by *audit.Log, i int) *jetstream.RawStreamMsg {
		rec, err := envelope.ParseRecord(all[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		again := envelope.Record{
			Kind: rec.Kind, Tenant: rec.Tenant, Publisher: rec.Publisher, ID: rec.ID, Operation: rec.Operation, Code: rec.Code,
			Time: rec.Time, Parent: rec.Parent, ParentSeq: rec.ParentSeq, Request: rec.Request,
		}
		data, err := by.Record(&again, envelope.Private{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &jetstream.RawStreamMsg{Subject: all[i].Subject, Data: data}
	}
	bent := &jetstream.RawStreamMsg{Subject: all[7].Subject, Data: bytes.Clone(all[7].Data)}
	bent.Data[100] ^= 1
	with := func(i, n int, m ...*jetstream.RawStreamMsg) []*jetstream.RawStreamMsg {
		return slices.Replace(slices.Clone(all), i, i+n, m...)
	}
	for _, tt := range []struct {
		name string
		told []*jetstream.RawStreamMsg
		want string // in the report; empty: it is whole
	}{
		{"nothing", all, ""},
		{"drop", with(7, 1), "RECORDS 8, request"},
		{"drop a request", with(12, 3), "[missing]"},
		{"truncate", all[:9], "[missing]"},
		{"alter", with(7, 1, bent), "RECORDS 8, request"},
		{"swap", with(7, 2, all[8], all[7]), "RECORDS 8, request"},
		{"insert", with(15, 0, signed(stranger, 14)), "[stranger]"},
		{"re-sign", with(14, 1, signed(stranger, 14)), "[stranger]"},
		{"replay", with(15, 0, all[5]), "[repeated]"},
		{"replay the first", with(15, 0, all[0]), "[repeated]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := o.js.DeleteStream(t.Context(), "RECORDS"); err != nil {
				t.Fatal(err)
			}
			if _, err := o.js.CreateStream(t.Context(), settings); err != nil {
				t.Fatal(err)
			}
			for _, m := range tt.told {
				if _, err := o.js.Publish(t.Context(), m.Subject, m.Data); err != nil {
					t.Fatal(err)
				}
			}
			out, code := l.audit(t, config, "verify")
			if tt.want == "" && code != 0 || tt.want != "" && (code != 1 || !strings.Contains(out, tt.want)) {
				t.Errorf("audit verify exits with %d, want %q:\n%s", code, tt.want, out)
			}
		})
	}
}
