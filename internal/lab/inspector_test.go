package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An inspector is the connection of the demo's administrator, who may do everything
// in the tenant's account: what an attacker on the broker could do.
type inspector struct {
	nc *nats.Conn
	js jetstream.JetStream
}

func inspect(t testing.TB, e *Endpoints) *inspector {
	t.Helper()
	i, err := connect(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.nc.Close)
	return &i
}

func connect(e *Endpoints) (inspector, error) {
	user, err := nats.NkeyOptionFromSeed(e.NATS.AdminCreds)
	if err != nil {
		return inspector{}, err
	}
	nc, err := nats.Connect(e.NATS.URL, user, nats.TLSHandshakeFirst(), nats.RootCAs(e.NATS.CA))
	if err != nil {
		return inspector{}, err
	}
	js, err := jetstream.New(nc)
	return inspector{nc, js}, err
}

// counts returns one line for each stream in the path of a request.
func (b *inspector) counts(ctx context.Context) (string, error) {
	var text strings.Builder
	for _, name := range []string{"REQUESTS", "RECORDS"} {
		s, err := b.js.Stream(ctx, name)
		if err != nil {
			return "", err
		}
		state := s.CachedInfo().State
		fmt.Fprintf(&text, "%s: %d messages, the last is %d\n", name, state.Msgs, state.LastSeq)
	}
	return text.String(), nil
}

// waiting is how many messages are in REQUESTS.
func (b *inspector) waiting(t testing.TB) uint64 {
	t.Helper()
	s, err := b.js.Stream(t.Context(), "REQUESTS")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// record stores the accepted record of a request of publisher p.
func (b *inspector) record(t testing.TB, publisher, id string, data []byte) uint64 {
	t.Helper()
	msg := nats.NewMsg("rec." + publisher + "." + id + ".pub")
	msg.Data = data
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence-Subject", "rec.*."+id+".*")
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", strconv.Itoa(0))
	ack, err := b.js.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}
