package queue_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit/broker"
)

// noStreams is a server without streams, whose users may do everything, so that
// one of them can play JetStream.
const noStreams = `
host: $WRITEBACK_NATS_HOST
port: $WRITEBACK_NATS_PORT
tls { cert_file: $WRITEBACK_NATS_CERT, key_file: $WRITEBACK_NATS_KEY, handshake_first: true }
authorization { users: [ { nkey: $WRITEBACK_PUBLISHER_NKEY }, { nkey: $WRITEBACK_CONSUMER_NKEY } ] }
`

const (
	closed = `{"error":{"code":503,"err_code":10077,"description":"store is closed"},"stream":"RECORDS","seq":0}`
	astray = `{"error":{"code":503,"err_code":10063,"description":"expected stream sequence does not match"},"stream":"RECORDS","seq":0}`
	behind = `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"RECORDS","seq":0}`
	stale  = `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"RECORDS","seq":0}`
	silent = ""
	none   = `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`
)

// TestRefusedAfterItWasStored has a cluster say what it says while its leader is
// stopped: a refusal is not believed where the record may have been stored.
func TestRefusedAfterItWasStored(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte(noStreams), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		answers []string // to each write
		reads   []string // what each reading finds under sequence 7; empty is nothing
		want    error
	}{
		{"its leader was being stopped", []string{closed, behind}, []string{"ours"}, nil},
		{"its leader was being stopped, and another was first", []string{closed, behind}, []string{"theirs"}, reset.ErrConflict},
		{"its leader was out of step", []string{astray, behind}, []string{"ours"}, nil},
		{"it did not answer", []string{silent, behind}, []string{"ours"}, nil},
		{"it did not answer, and reads back less than it has", []string{silent, behind, behind}, []string{"", "ours"}, nil},
		{"a leader that hung knows less than we do, and the next one has stored it", []string{stale, behind}, []string{"ours"}, nil},
		{"a leader that hung knows less than we do, and another was first", []string{stale, behind}, []string{"theirs"}, reset.ErrConflict},
		{"another was first", []string{behind}, nil, reset.ErrConflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files, err := broker.NewFiles(t.TempDir(), config)
			if err != nil {
				t.Fatal(err)
			}
			s, err := files.Start(t.Context(), binary(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Kill)
			var mu sync.Mutex
			answers, reads := tt.answers, tt.reads
			if _, err := raw(t, s, con).Subscribe("corp.>", func(m *nats.Msg) {
				mu.Lock()
				defer mu.Unlock()
				if !strings.Contains(m.Subject, ".STREAM.MSG.GET.") {
					answer := answers[0]
					if answers = answers[1:]; answer != silent {
						m.Respond([]byte(answer))
					}
					return
				}
				var get struct{ Seq uint64 }
				json.Unmarshal(m.Data, &get)
				if get.Seq == 1 && reads[0] != "" {
					m.Respond(fmt.Appendf(nil, `{"message":{"subject":"rec.p1.00.pub","seq":7,"data":%q}}`, encode(reads[0])))
					return
				}
				reads = reads[1:]
				m.Respond([]byte(none))
			}); err != nil {
				t.Fatal(err)
			}
			tenant := connect(t, s.Config(queue.Publisher), queue.Publisher).Tenant("corp")
			seq, err := tenant.Append(within(t, 20*time.Second), ref(), []byte("ours"), 5)
			if !errors.Is(err, tt.want) || err == nil && seq != 7 {
				t.Errorf("sequence %d, %v; want 7 or %v", seq, err, tt.want)
			}
			if len(answers) != 0 || len(reads) != 0 {
				t.Errorf("%d answers and %d readings were not asked for", len(answers), len(reads))
			}
		})
	}
}

func encode(s string) string {
	b, _ := json.Marshal([]byte(s))
	return strings.Trim(string(b), `"`)
}
