package queue_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"writeback/internal/queue"
	"writeback/internal/testkit/broker"
)

// roles are the users that the files of nats/ know.
var roles = []queue.Role{queue.Publisher, queue.Consumer, queue.Provisioner, queue.System}

const (
	pub = queue.Publisher
	con = queue.Consumer
	pro = queue.Provisioner
	sys = queue.System
)

// mayPublish says who may send what; all others may not.
var mayPublish = []struct {
	subject string
	by      []queue.Role
}{
	// Requests: only a publisher, and only through its own account's name.
	{"corp.req.00", []queue.Role{pub}},
	{"corp.req.00.more", nil},
	{"req.00", nil},
	{"other.req.00", nil},
	// Records: each side its own.
	{"corp.rec.p1.00.pub", []queue.Role{pub}},
	{"corp.rec.p1.00.con", []queue.Role{con}},
	{"corp.rec.p1.00.con.more", nil},
	{"rec.p1.00.con", nil},
	{"rec.p1.00.pub", nil},
	{"other.rec.p1.00.con", nil},
	// What the broker says of them, nobody else does.
	{"corp.live.p1.00.con", nil},
	{"live.p1.00.con", nil},
	// Who is alive is said on premises; nobody switches.
	{"corp.$KV.consumers.r1", []queue.Role{con}},
	{"$KV.consumers.r1", nil},
	{"corp.alive.r1", nil},
	{"alive.r1", nil},
	{"$KV.switches.writeback", nil},
	{"corp.$KV.switches.writeback", nil},
	{"evt.start", nil},
	{"corp.evt.start", nil},
	// Looking at streams and making them.
	{"$JS.API.INFO", []queue.Role{pro}},
	{"$JS.API.STREAM.INFO.REQUESTS", []queue.Role{pro}},
	{"$JS.API.STREAM.INFO.RECORDS", []queue.Role{pro}},
	{"$JS.API.STREAM.INFO.EVENTS", []queue.Role{pro}},
	{"corp.$JS.API.STREAM.INFO.REQUESTS", []queue.Role{pub, con}},
	{"corp.$JS.API.STREAM.INFO.RECORDS", []queue.Role{pub, con}},
	{"corp.$JS.API.STREAM.INFO.EVENTS", nil},
	{"$JS.API.STREAM.CREATE.OTHER", []queue.Role{pro}},
	{"$JS.API.STREAM.UPDATE.REQUESTS", []queue.Role{pro}},
	{"$JS.API.STREAM.DELETE.REQUESTS", nil},
	{"$JS.API.STREAM.DELETE.RECORDS", nil},
	{"$JS.API.STREAM.PURGE.RECORDS", nil},
	{"$JS.API.STREAM.SNAPSHOT.RECORDS", nil},
	{"$JS.API.STREAM.RESTORE.RECORDS", nil},
	{"$JS.API.STREAM.LEADER.STEPDOWN.REQUESTS", nil},
	{"$JS.API.STREAM.NAMES", nil},
	{"$JS.API.STREAM.LIST", nil},
	{"corp.$JS.API.STREAM.UPDATE.REQUESTS", nil},
	{"corp.$JS.API.STREAM.DELETE.REQUESTS", nil},
	// Reading messages: requests by pulling only.
	{"$JS.API.STREAM.MSG.GET.REQUESTS", nil},
	{"$JS.API.STREAM.MSG.GET.RECORDS", nil},
	{"$JS.API.STREAM.MSG.GET.KV_consumers", nil},
	{"$JS.API.STREAM.MSG.GET.EVENTS", nil},
	{"$JS.API.STREAM.MSG.DELETE.REQUESTS", nil},
	{"$JS.API.STREAM.MSG.DELETE.RECORDS", nil},
	{"$JS.API.DIRECT.GET.KV_consumers", nil},
	{"$JS.API.DIRECT.GET.RECORDS", nil},
	{"corp.$JS.API.STREAM.MSG.GET.REQUESTS", nil},
	{"corp.$JS.API.STREAM.MSG.GET.RECORDS", []queue.Role{pub, con}},
	{"corp.$JS.API.STREAM.MSG.GET.KV_consumers", []queue.Role{pub, con}},
	// The one durable consumer, which the provisioner makes.
	{"$JS.API.CONSUMER.CREATE.REQUESTS.consumers", []queue.Role{pro}},
	{"$JS.API.CONSUMER.CREATE.REQUESTS.other", nil},
	{"$JS.API.CONSUMER.CREATE.REQUESTS", nil},
	{"$JS.API.CONSUMER.CREATE.RECORDS.other", nil},
	{"$JS.API.CONSUMER.DURABLE.CREATE.REQUESTS.consumers", nil},
	{"$JS.API.CONSUMER.INFO.REQUESTS.consumers", []queue.Role{pro}},
	{"$JS.API.CONSUMER.MSG.NEXT.REQUESTS.consumers", nil},
	{"corp.$JS.API.CONSUMER.INFO.REQUESTS.consumers", []queue.Role{con}},
	{"corp.$JS.API.CONSUMER.MSG.NEXT.REQUESTS.consumers", []queue.Role{con}},
	{"corp.$JS.API.CONSUMER.MSG.NEXT.REQUESTS.other", nil},
	{"$JS.API.CONSUMER.DELETE.REQUESTS.consumers", nil},
	{"$JS.API.CONSUMER.PAUSE.REQUESTS.consumers", nil},
	{"$JS.ACK.REQUESTS.consumers.1.1.1.1.0", []queue.Role{con}},
	{"$JS.ACK.RECORDS.other.1.1.1.1.0", nil},
	{"corp.$JS.ACK.REQUESTS.consumers.1.1.1.1.0", nil},
	// The server itself.
	{"$SYS.REQ.SERVER.PING.VARZ", []queue.Role{sys}},
	{"$SYS.REQ.SERVER.PING", nil},
	{"$SYS.REQ.SERVER.PING.CONNZ", nil},
	{"$SYS.REQ.ACCOUNT.CORP.CONNZ", nil},
	{"$SYS.REQ.CLAIMS.UPDATE", nil},
	{"$JS.API.SERVER.REMOVE", nil},
	// Other people's inboxes.
	{"_IN.publisher.x", nil},
	{"_IN.consumer.x", nil},
	{"_IN.provisioner.x", nil},
	{"_INBOX.x", nil},
	{"anything", nil},
}

// maySubscribe says who may listen to what.
var maySubscribe = []struct {
	subject string
	by      []queue.Role
}{
	{"_IN.publisher.>", []queue.Role{pub}},
	{"_IN.consumer.>", []queue.Role{con}},
	{"_IN.provisioner.>", []queue.Role{pro}},
	{"_IN.system.>", []queue.Role{sys}},
	{"_IN.other.>", nil},
	{"_IN.>", nil},
	{"_INBOX.>", nil},
	{">", nil},
	{"*", nil},
	{"*.>", nil},
	{"corp.live.p1.*.*", []queue.Role{pub}},
	{"corp.live.>", nil},
	{"$KV.>", nil},
	{"live.p1.*.*", nil},
	{"corp.alive.*", []queue.Role{pub, con}},
	{"corp.alive.>", []queue.Role{pub, con}}, // > is a token like any other to the * that is allowed
	{"alive.*", nil},
	{"corp.$KV.consumers.*", nil},
	{"$KV.consumers.*", nil},
	{"$KV.switches.*", nil},
	{"req.*", nil},
	{"corp.req.*", nil},
	{"rec.*.*.*", nil},
	{"rec.*.*.con", nil},
	{"corp.rec.*.*.con", nil},
	{"evt.>", nil},
	{"$JS.API.>", nil},
	{"$JS.ACK.>", nil},
	{"$JS.EVENT.>", nil},
	{"$SYS.>", nil},
	{"$SYS.ACCOUNT.>", nil},
	{"_R_.>", nil},
}

// A line is one user's connection, with what the broker refused on it, in order.
type line struct {
	nc      *nats.Conn
	refused chan error
}

func open(t *testing.T, s *broker.Server, role queue.Role) *line {
	t.Helper()
	l := &line{refused: make(chan error, 10)}
	l.nc = raw(t, s, role, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.refused <- err }))
	return l
}

// denied reports whether the broker refuses what try does. The broker reports
// refusals in order, so that the one of a subject that nobody has is the last
// to be waited for.
func (l *line) denied(t *testing.T, verb, subject string, try func() error) bool {
	t.Helper()
	if err := try(); err != nil {
		t.Fatal(err)
	}
	if err := l.nc.Publish("nobody.has.this", nil); err != nil {
		t.Fatal(err)
	}
	denied := false
	for ctx := within(t, 20*time.Second); ; {
		select {
		case err := <-l.refused:
			text := strings.ToLower(err.Error())
			switch {
			case strings.Contains(text, `publish to "nobody.has.this"`):
				return denied
			case strings.Contains(text, strings.ToLower(fmt.Sprintf("permissions violation for %s to %q", verb, subject))):
				denied = true
			default:
				t.Fatalf("the broker says %v", err)
			}
		case <-ctx.Done():
			t.Fatal("the broker does not refuse what nobody may do")
		}
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, role := range roles {
		t.Run(string(role), func(t *testing.T) {
			l := open(t, s, role)
			for _, tt := range mayPublish {
				denied := l.denied(t, "publish", tt.subject, func() error { return l.nc.Publish(tt.subject, nil) })
				if may := slices.Contains(tt.by, role); denied == may {
					t.Errorf("publishing to %s: allowed is %t, want %t", tt.subject, !denied, may)
				}
			}
			for _, tt := range maySubscribe {
				for _, group := range []string{"", "group"} {
					denied := l.denied(t, "subscription", tt.subject, func() error {
						_, err := l.nc.QueueSubscribe(tt.subject, group, func(*nats.Msg) {})
						if group == "" {
							_, err = l.nc.Subscribe(tt.subject, func(*nats.Msg) {})
						}
						return err
					})
					if may := slices.Contains(tt.by, role); denied == may {
						t.Errorf("subscribing to %s, group %q: allowed is %t, want %t", tt.subject, group, !denied, may)
					}
				}
			}
		})
	}
}
