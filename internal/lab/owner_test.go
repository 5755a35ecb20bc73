package lab

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit"
	"writeback/internal/testkit/keys"
)

// A caught request is one that the owner of the broker has taken out of the queue
// before a consumer saw it.
type caught struct {
	id      string // of the API
	subject string
	data    []byte
}

// An owner does what it likes with the broker, and has no key of ours.
type owner struct {
	*inspector
	l *Lab
	e *Endpoints
}

func newOwner(t testing.TB, l *Lab) *owner {
	t.Helper()
	e := l.endpoints(t)
	return &owner{inspect(t, e), l, e}
}

// catch makes a request and takes it.
func (o *owner) catch(t *testing.T, user testkit.User, password string) caught {
	t.Helper()
	o.pause(t, time.Now().Add(time.Hour))
	r, err := o.e.post(t.Context(), "upn", user.UPN, password, "Prefer: wait=0")
	if err != nil || r.Status != http.StatusAccepted {
		t.Fatalf("accepting: %v %s", err, r.Body)
	}
	m := o.newest(t)
	o.drop(t)
	o.pause(t, time.Time{})
	return caught{r.ID, m.Subject, m.Data}
}

// newest waits for a request in the queue.
func (o *owner) newest(t *testing.T) *jetstream.RawStreamMsg {
	t.Helper()
	requests, err := o.js.Stream(t.Context(), "REQUESTS")
	if err != nil {
		t.Fatal(err)
	}
	var m *jetstream.RawStreamMsg
	await(t, "the request", func() (err error) {
		m, err = requests.GetLastMsgForSubject(t.Context(), "req.*")
		return err
	})
	return m
}

// pause holds back what is in the queue until then; the zero time is no longer.
func (o *owner) pause(t *testing.T, until time.Time) {
	t.Helper()
	var err error
	if until.IsZero() {
		_, err = o.js.ResumeConsumer(t.Context(), "REQUESTS", "consumers")
	} else {
		_, err = o.js.PauseConsumer(t.Context(), "REQUESTS", "consumers", until)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// send stores a message, without an id that it could be known by again, and waits
// until the consumers have done with it. One that is not acknowledged yet holds the
// slot, although its outcome is known: storing waits for that.
func (o *owner) send(t *testing.T, subject string, data []byte) {
	t.Helper()
	await(t, "storing a message", func() error {
		_, err := o.js.Publish(t.Context(), subject, data)
		return err
	})
	await(t, "taking a message off the queue", func() error {
		if n := o.waiting(t); n != 0 {
			return fmt.Errorf("REQUESTS holds %d messages", n)
		}
		return nil
	})
}

// wants fails the test unless the user's password was set so many times, and the
// request's code is this one.
func (o *owner) wants(t *testing.T, c caught, user testkit.User, code string, sets int) {
	t.Helper()
	if code != "" {
		await(t, code, func() error {
			if got := o.l.get(t, o.e, c.id); !got.Final {
				return errors.New(got.Body)
			}
			return nil
		})
	}
	if got := o.l.get(t, o.e, c.id); got.Code != code {
		t.Errorf("the API says %s, want code %q", got.Body, code)
	}
	if n := o.l.fake.Counts(user.SAMAccountName).Passwords; n != sets {
		t.Errorf("the password was set %d times, want %d", n, sets)
	}
}

// TestBrokerOwner tries what the owner of the broker can do with genuine
// requests, records and announcements. See also TestMessagesThatAreNoRequests.
func TestBrokerOwner(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	o := newOwner(t, l)
	users := l.Directory.Users
	stranger := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 99), consumerName(0))

	t.Run("alters a request", func(t *testing.T) {
		c := o.catch(t, users[0], "Genuine-Word-0")
		for at := 0; at < len(c.data); at += len(c.data) / 25 {
			altered := bytes.Clone(c.data)
			altered[at] ^= 1
			o.send(t, c.subject, altered)
		}
		o.wants(t, c, users[0], "", 0)
		o.send(t, c.subject, c.data)
		o.wants(t, c, users[0], string(reset.Applied), 1)
	})

	t.Run("swaps the bodies of two requests", func(t *testing.T) {
		a, b := o.catch(t, users[1], "Genuine-Word-1"), o.catch(t, users[2], "Genuine-Word-2")
		first, second := parse(t, a.data), parse(t, b.data)
		first.Body, second.Body = second.Body, first.Body
		o.send(t, a.subject, first.Encode())
		o.send(t, b.subject, second.Encode())
		first.Wraps, second.Wraps = second.Wraps, first.Wraps
		o.send(t, a.subject, first.Encode())
		o.send(t, b.subject, second.Encode())
		o.wants(t, a, users[1], "", 0)
		o.wants(t, b, users[2], "", 0)
		o.send(t, a.subject, a.data)
		o.send(t, b.subject, b.data)
		o.wants(t, a, users[1], string(reset.Applied), 1)
		o.wants(t, b, users[2], string(reset.Applied), 1)
	})

	t.Run("replays a request that was applied", func(t *testing.T) {
		c := o.catch(t, users[3], "Genuine-Word-3")
		o.send(t, c.subject, c.data)
		o.wants(t, c, users[3], string(reset.Applied), 1)
		wantApplied(t, o.e, "upn", users[3].UPN, "Later-Word-3")
		for _, subject := range []string{c.subject, "req.00112233445566778899aabbccddeeff", c.subject} {
			o.send(t, subject, c.data)
		}
		o.wants(t, c, users[3], string(reset.Applied), 2)
	})

	t.Run("shows a record that is of another request", func(t *testing.T) {
		done := wantApplied(t, o.e, "upn", users[4].UPN, "Genuine-Word-4")
		c := o.catch(t, users[5], "Genuine-Word-5")
		publisher, id, _ := strings.Cut(c.id, "-")
		records, err := o.js.Stream(t.Context(), "RECORDS")
		if err != nil {
			t.Fatal(err)
		}
		settled, err := records.GetLastMsgForSubject(t.Context(), "rec."+strings.Replace(done.ID, "-", ".", 1)+".con")
		if err != nil {
			t.Fatal(err)
		}
		live := nats.NewMsg("live." + publisher + "." + id + ".con")
		live.Data = settled.Data
		live.Header.Set("Nats-Sequence", fmt.Sprint(settled.Sequence+100))
		live.Header.Set("Nats-Time-Stamp", settled.Time.Format(time.RFC3339Nano))
		o.logs(t, "publisher", "a live record does not fit", func() error { return o.nc.PublishMsg(live) })
		o.wants(t, c, users[5], "", 0)
		o.send(t, c.subject, c.data)
		o.wants(t, c, users[5], string(reset.Applied), 1)
	})

	t.Run("answers for the consumer", func(t *testing.T) {
		c := o.catch(t, users[6], "Genuine-Word-6")
		publisher, id, _ := strings.Cut(c.id, "-")
		subject := "rec." + publisher + "." + id + ".con"
		h := parse(t, c.data).Header
		last := audit.Link{Seq: h.ParentSeq, Hash: h.Parent}
		for _, kind := range []envelope.Kind{envelope.Claimed, envelope.Settled} {
			rec := envelope.Record{
				Kind: kind, Tenant: h.Tenant, Publisher: h.Publisher, ID: h.ID, Operation: h.Operation,
				Time: time.Now(), Parent: last.Hash, ParentSeq: last.Seq, Request: sha256.Sum256(c.data),
			}
			if kind == envelope.Settled {
				rec.Code = reset.Applied
			}
			data, err := stranger.Record(&rec, envelope.Private{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			o.logs(t, "publisher", "a live record does not fit", func() error {
				ack, err := o.js.Publish(t.Context(), subject, data)
				if err == nil {
					last = audit.Link{Seq: ack.Sequence, Hash: sha256.Sum256(data)}
				}
				return err
			})
		}
		o.wants(t, c, users[6], "", 0)
		// It can spoil the request, so that nobody works on it.
		o.logs(t, "consumer", "records_broken", func() error {
			_, err := o.js.Publish(t.Context(), c.subject, c.data)
			return err
		})
		o.wants(t, c, users[6], "", 0)
		o.drop(t)
	})

	t.Run("announces a sealing key of its own", func(t *testing.T) {
		box := keys.Box(t)
		own, err := seal.NewBox(box)
		if err != nil {
			t.Fatal(err)
		}
		for _, replica := range []string{consumerName(0), "consumer9"} {
			a := envelope.Announcement{
				Tenant: Tenant, Replica: replica, Run: stranger.Run(), Time: time.Now(),
				Box: [envelope.BoxSize]byte(box), Signer: stranger.Public().ID(),
			}
			a.Sig = stranger.Sign(seal.KindAnnounce, a.Signed())
			o.logs(t, "publisher", "not signed by a pinned consumer", func() error {
				_, err := o.js.Publish(t.Context(), "$KV.consumers."+replica, a.Encode())
				return err
			})
		}
		c := o.catch(t, users[7], "Genuine-Word-7")
		wraps := parse(t, c.data).Wraps
		if len(wraps) != 2 {
			t.Errorf("the request is sealed for %d, want the 2 consumers", len(wraps))
		}
		for _, w := range wraps {
			if w.Box == own.ID {
				t.Error("the request is sealed for the owner of the broker")
			}
		}
		o.send(t, c.subject, c.data)
		o.wants(t, c, users[7], string(reset.Applied), 1)
	})

	// The last, since nothing works any more afterwards.
	t.Run("drops the records", func(t *testing.T) {
		done := wantApplied(t, o.e, "upn", users[8].UPN, "Genuine-Word-8")
		c := o.catch(t, users[9], "Genuine-Word-9")
		records, err := o.js.Stream(t.Context(), "RECORDS")
		if err != nil {
			t.Fatal(err)
		}
		again := records.CachedInfo().Config
		if err := o.js.DeleteStream(t.Context(), "RECORDS"); err != nil {
			t.Fatal(err)
		}
		if _, err := o.js.CreateStream(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		o.logs(t, "consumer", "records_missing", func() error {
			_, err := o.js.Publish(t.Context(), c.subject, c.data)
			return err
		})
		o.wants(t, c, users[9], "", 0)
		// Of what was applied, the publisher knows nothing any more, and says
		// so; it does not say that it failed.
		r, err := o.e.do(t.Context(), http.MethodGet, "/v1/requests/"+done.ID, nil)
		if err != nil || r.Status != http.StatusNotFound || r.Code != string(reset.UnknownRequest) {
			t.Errorf("the API says %v %s, want unknown_request", err, r.Body)
		}
		o.drop(t)
	})
}

// drop takes the newest request out of the queue.
func (o *owner) drop(t *testing.T) {
	t.Helper()
	requests, err := o.js.Stream(t.Context(), "REQUESTS")
	if err != nil {
		t.Fatal(err)
	}
	m, err := requests.GetLastMsgForSubject(t.Context(), "req.*")
	if err == nil {
		err = requests.DeleteMsg(t.Context(), m.Sequence)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// logs calls do, and waits until a program, or any of the consumers, has logged
// text once more than before.
func (o *owner) logs(t *testing.T, program, text string, do func() error) {
	t.Helper()
	count := func() int {
		if program == "consumer" {
			return bytes.Count(o.l.consumerLogs(t), []byte(text))
		}
		return bytes.Count(o.l.log(t, program), []byte(text))
	}
	before := count()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	await(t, text, func() error {
		if count() == before {
			return errors.New("it is not logged")
		}
		return nil
	})
}

func parse(t *testing.T, data []byte) *envelope.Request {
	t.Helper()
	req, err := envelope.ParseRequest(data)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
