package queue_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
)

const (
	nextRequest  = "$JS.API.CONSUMER.MSG.NEXT.REQUESTS.consumers"
	lookRequests = "$JS.API.STREAM.INFO.REQUESTS"
	emptyAnswer  = `{"batch":1,"no_wait":true}` // a pull that finds nothing is answered without a body
)

// outOfReach are subjects that nobody but the provisioner may write to, or nobody
// at all.
// A JetStream API that takes no body does what it says for an empty answer.
var outOfReach = []string{
	"req.00", "rec.p1.00.pub", "rec.p1.00.con", "evt.start", "corp.evt.start", "evt.pub.p1.00", "evt.con.r1.00",
	"$KV.switches.writeback", "$KV.consumers.forged", "alive.forged", "corp.alive.forged",
	"$JS.API.STREAM.DELETE.RECORDS", "corp.$JS.API.STREAM.DELETE.RECORDS",
	"$JS.API.STREAM.DELETE.REQUESTS", "corp.$JS.API.STREAM.DELETE.REQUESTS",
	"$JS.API.STREAM.DELETE.KV_switches", "$JS.API.STREAM.PURGE.KV_switches", "corp.$JS.API.STREAM.PURGE.KV_switches",
	"$JS.API.CONSUMER.DELETE.REQUESTS.consumers", "corp.$JS.API.CONSUMER.DELETE.REQUESTS.consumers",
}

// TestReplySubject makes requests that a user may make, and has the answers
// sent to subjects that the user may not write to: the broker does not check
// reply subjects. An answer goes back to the account that asked, and finds there
// only the subjects that this account imports, which its user may write to
// anyway. This is why nobody but the provisioner is in the account that has the
// streams.
func TestReplySubject(t *testing.T) {
	t.Parallel()
	s := start(t)
	cloud, site := publisher(t, s), consumer(t, s)
	enqueue(t, cloud, 3)
	id := ref()
	seq, err := cloud.Append(within(t, 20*time.Second), id, []byte("accepted"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := site.Append(within(t, 20*time.Second), id, []byte("claimed"), seq); err != nil {
		t.Fatal(err)
	}
	held, err := raw(t, s, con).Request("corp."+nextRequest, []byte(`{"batch":1}`), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ack := held.Reply
	readers := []string{"corp.req.00", "corp.rec.p1.00.pub", "corp.rec.p1.00.con", "corp.evt.pub.p1.00", "corp.evt.con.r1.00", "corp.$KV.consumers.forged", "corp.$KV.switches.writeback"}
	tests := []struct {
		name    string
		role    queue.Role
		subject string
		body    string
		also    []string // out of reach of this user
	}{
		{"a publisher looks at requests", pub, "corp." + lookRequests, "", []string{"corp.rec.p1.00.con", "corp.evt.con.r1.00", "corp.$KV.consumers.forged"}},
		{"a publisher reads a record", pub, "corp.$JS.API.STREAM.MSG.GET.RECORDS", `{"seq":1}`, []string{"corp.rec.p1.00.con"}},
		{"an auditor looks at records", aud, "corp.$JS.API.STREAM.INFO.RECORDS", "", readers},
		{"an auditor looks at events", aud, "corp.$JS.API.STREAM.INFO.EVENTS", "", readers},
		{"an auditor reads a record", aud, "corp.$JS.API.STREAM.MSG.GET.RECORDS", `{"seq":1}`, readers},
		{"an auditor reads an event", aud, "corp.$JS.API.STREAM.MSG.GET.EVENTS", `{"seq":1}`, readers},
		{"the system user asks for settings", sys, "$SYS.REQ.SERVER.PING.VARZ", "", readers},
		{"a consumer looks at requests", con, "corp." + lookRequests, "", nil},
		{"a consumer looks at records", con, "corp.$JS.API.STREAM.INFO.RECORDS", "", nil},
		{"a consumer reads a record", con, "corp.$JS.API.STREAM.MSG.GET.RECORDS", `{"seq":1}`, nil},
		{"a consumer reads an announcement", con, "corp.$JS.API.STREAM.MSG.GET.KV_consumers", `{"seq":1}`, nil},
		{"a consumer looks at the durable consumer", con, "corp.$JS.API.CONSUMER.INFO.REQUESTS.consumers", "", nil},
		{"a consumer announces", con, "corp.$KV.consumers.r1", "", nil},
		{"a consumer pulls nothing", con, "corp." + nextRequest, emptyAnswer, nil},
		{"a consumer acknowledges", con, ack, "+ACK", nil},
		{"a consumer acknowledges and pulls", con, ack, "+NXT", nil},
		{"a consumer pulls a request", con, "corp." + nextRequest, `{"batch":1}`, nil},
	}
	before := contents(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			also := tt.also
			if tt.role == con {
				also = []string{"corp.req.00", "corp.rec.p1.00.pub", "corp.evt.pub.p1.00", "corp.$KV.switches.writeback"}
			}
			divert(t, s, tt.role, tt.subject, tt.body, append(also, outOfReach...)...)
			after := contents(t, s)
			for stream := range before {
				// The request that was acknowledged is gone.
				for subject := range after[stream] {
					if before[stream][subject] == 0 {
						t.Errorf("%s has an answer in %s", stream, subject)
					}
				}
				if stream != "REQUESTS" && !maps.Equal(before[stream], after[stream]) {
					t.Errorf("%s holds %v, want %v", stream, after[stream], before[stream])
				}
			}
			if got := len(after["REQUESTS"]); got < 2 {
				t.Errorf("REQUESTS holds %d requests, want the 2 that nobody acknowledged", got)
			}
			pending(t, s) // fails if the durable consumer is gone
		})
	}
}

// TestReplySubjectWithin shows that these requests have an effect at all: within
// the account that has the streams, where only the provisioner is.
func TestReplySubjectWithin(t *testing.T) {
	t.Parallel()
	s := start(t)
	divert(t, s, pro, lookRequests, "", "req.00", "evt.start")
	got := contents(t, s)
	if got["REQUESTS"]["req.00"] != 1 || got["EVENTS"]["evt.start"] != 1 {
		t.Errorf("the streams hold %v, want an answer in req.00 and in evt.start", got)
	}
}

// contents says what the tenant's streams hold, subject by subject, but for the
// announcements, which expire.
func contents(t *testing.T, s *broker.Server) map[string]map[string]uint64 {
	t.Helper()
	js, all := operator(t, s), make(map[string]map[string]uint64)
	for _, stream := range []string{"REQUESTS", "RECORDS", "EVENTS", "KV_switches", "KV_tickets", "KV_consumers"} {
		all[stream] = subjects(t, js, stream)
	}
	said := slices.Collect(maps.Keys(all["KV_consumers"]))
	delete(all, "KV_consumers")
	if slices.Contains(said, "$KV.consumers.forged") {
		t.Errorf("KV_consumers holds %v", said)
	}
	return all
}

// divert makes the same request once for each subject that is to have the
// answer, and waits until the broker has done what it does.
func divert(t *testing.T, s *broker.Server, role queue.Role, subject, body string, replies ...string) {
	t.Helper()
	l := open(t, s, user{role: role, key: s.NKeyFile(role)})
	for _, reply := range replies {
		if err := l.nc.PublishRequest(subject, reply, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	// Twice the same way with an inbox of our own: what was asked before is
	// answered before, and what that answer set off is done by then.
	same := nats.Msg{Subject: subject, Data: []byte(emptyAnswer)}
	if strings.HasPrefix(subject, "$JS.ACK.") {
		same.Data = []byte("+ACK")
	}
	for range 2 {
		if _, err := l.nc.RequestMsg(&same, 10*time.Second); err != nil {
			t.Fatalf("asking %s: %v", subject, err)
		}
	}
	select {
	case err := <-l.refused:
		t.Errorf("the broker says %v; the request must be one that it answers", err)
	default:
	}
}
