package queue_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

var parts = []string{
	"stream REQUESTS", "stream RECORDS", "stream EVENTS",
	"stream KV_consumers", "stream KV_switches", "stream KV_tickets", "consumer consumers",
}

// each is what Provision says if it says the same of every part.
func each(what string) []string {
	var lines []string
	for _, p := range parts {
		lines = append(lines, p+": "+what)
	}
	return lines
}

func TestProvision(t *testing.T) {
	t.Parallel()
	s := bare(t)
	if got, want := provision(t, s), each("created"); !slices.Equal(got, want) {
		t.Errorf("first run says %q, want %q", got, want)
	}
	js := operator(t, s)
	before := configs(t, js)
	if got, want := provision(t, s), each("nothing to change"); !slices.Equal(got, want) {
		t.Errorf("second run says %q, want %q", got, want)
	}
	if after := configs(t, js); !slices.Equal(before, after) {
		t.Errorf("second run has changed\n%q to\n%q", before, after)
	}
	// A broker that starts again has the same.
	s.Kill()
	restart(t, s)
	if got, want := provision(t, s), each("nothing to change"); !slices.Equal(got, want) {
		t.Errorf("after a restart, it says %q, want %q", got, want)
	}
}

// configs are the settings of all parts, in text.
func configs(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	var all []string
	for _, p := range parts {
		kind, name, _ := strings.Cut(p, " ")
		if kind == "stream" {
			s, err := js.Stream(within(t, 10*time.Second), name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, asJSON(t, s.CachedInfo().Config))
			continue
		}
		c, err := js.Consumer(within(t, 10*time.Second), "REQUESTS", name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, asJSON(t, c.CachedInfo().Config))
	}
	return all
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDrift changes one setting behind our back: the programs refuse to work,
// Provision puts it right and says what it did.
func TestDrift(t *testing.T) {
	t.Parallel()
	tests := []struct {
		stream string
		change func(*jetstream.StreamConfig)
		say    string // the line of Provision
	}{
		{"REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 }, "max_msgs_per_subject from 2 to 1"},
		{"REQUESTS", func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = false }, "discard_new_per_subject from none to true"},
		{"REQUESTS", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age from 1h0m0s to 3m0s"},
		{"REQUESTS", func(c *jetstream.StreamConfig) { c.NoAck = true }, "no_ack from true to none"},
		{"REQUESTS", func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: ">", Destination: "leak.>"}
		}, "republish from map[dest:leak.> src:>] to none"},
		{"REQUESTS", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "req.*", Destination: "req.one"}
		}, "subject_transform from map[dest:req.one src:req.*] to none"},
		{"RECORDS", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age from 1h0m0s to 9600h0m0s"},
		{"RECORDS", func(c *jetstream.StreamConfig) { c.RePublish = nil }, "republish from none to map[dest:live.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}} src:rec.*.*.*]"},
		{"EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 7 }, "max_msgs from 7 to -1"},
		{"KV_consumers", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age from 1h0m0s to 30s"},
	}
	s := start(t)
	js := operator(t, s)
	site := consumer(t, s)
	for _, tt := range tests {
		t.Run(tt.stream+" "+tt.say, func(t *testing.T) {
			live, err := js.Stream(within(t, 10*time.Second), tt.stream)
			if err != nil {
				t.Fatal(err)
			}
			cfg := live.CachedInfo().Config
			tt.change(&cfg)
			if _, err := js.UpdateStream(within(t, 10*time.Second), cfg); err != nil {
				t.Fatal(err)
			}
			err = site.CheckStreams(within(t, 10*time.Second))
			if inPath := tt.stream == "REQUESTS" || tt.stream == "RECORDS"; inPath && (err == nil ||
				!strings.Contains(err.Error(), tt.say) || !strings.Contains(err.Error(), tt.stream)) {
				t.Errorf("CheckStreams: got %v, want %s of %s", err, tt.say, tt.stream)
			}
			if got, want := provision(t, s), "stream "+tt.stream+": changed "+tt.say; !slices.Contains(got, want) {
				t.Errorf("Provision says %q, want %q", got, want)
			}
			if err := site.CheckStreams(within(t, 10*time.Second)); err != nil {
				t.Errorf("CheckStreams after Provision: %v", err)
			}
			if got, want := provision(t, s), each("nothing to change"); !slices.Equal(got, want) {
				t.Errorf("then, Provision says %q, want %q", got, want)
			}
		})
	}
}

// TestDriftForGood has settings that the broker does not take back: both say so.
func TestDriftForGood(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*jetstream.StreamConfig)
		say    string
	}{
		{"writes that are not synced", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, "persist_mode from async to none"},
		{"messages with a life of their own", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, "allow_msg_ttl from true to none"},
		{"no work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy }, "retention from limits to workqueue"},
		{"in memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage from memory to file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// Make REQUESTS as it is elsewhere, but for the change.
			model, err := operator(t, start(t)).Stream(within(t, 10*time.Second), "REQUESTS")
			if err != nil {
				t.Fatal(err)
			}
			cfg := model.CachedInfo().Config
			cfg.Metadata = nil
			tt.change(&cfg)
			s := bare(t)
			if _, err := operator(t, s).CreateStream(within(t, 10*time.Second), cfg); err != nil {
				t.Fatal(err)
			}
			conn := connect(t, s.Config(queue.Provisioner), queue.Provisioner)
			err = conn.Provision(within(t, 10*time.Second), 1, queue.DefaultKeep, func(string) {})
			if err == nil || !strings.Contains(err.Error(), tt.say) || !strings.Contains(err.Error(), "REQUESTS") {
				t.Errorf("Provision: got %v, want %s of REQUESTS", err, tt.say)
			}
			err = consumer(t, s).CheckStreams(within(t, 10*time.Second))
			if err == nil || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("CheckStreams: got %v, want %s", err, tt.say)
			}
		})
	}
}

// How long records are kept is the operator's business.
func TestKeep(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn := connect(t, s.Config(queue.Provisioner), queue.Provisioner)
	const month = 30 * 24 * time.Hour
	var lines []string
	if err := conn.Provision(within(t, 20*time.Second), 1, month, func(line string) { lines = append(lines, line) }); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RECORDS", "EVENTS"} {
		stream, err := operator(t, s).Stream(within(t, 10*time.Second), name)
		if err != nil {
			t.Fatal(err)
		}
		want := "stream " + name + ": changed max_age from 9600h0m0s to 720h0m0s"
		if age := stream.CachedInfo().Config.MaxAge; age != month || !slices.Contains(lines, want) {
			t.Errorf("%s keeps its messages for %s; Provision says %q", name, age, lines)
		}
	}
	if err := consumer(t, s).CheckStreams(within(t, 10*time.Second)); err != nil {
		t.Errorf("with records that are kept for a month: %v", err)
	}
	if err := conn.Provision(within(t, 20*time.Second), 1, time.Hour, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if err := consumer(t, s).CheckStreams(within(t, 10*time.Second)); err == nil {
		t.Error("records that are kept for an hour will do")
	}
}

func TestConsumerDrift(t *testing.T) {
	t.Parallel()
	s := start(t)
	js := operator(t, s)
	con, err := js.Consumer(within(t, 10*time.Second), "REQUESTS", "consumers")
	if err != nil {
		t.Fatal(err)
	}
	cfg := con.CachedInfo().Config
	cfg.MaxDeliver = 3
	if _, err := js.UpdateConsumer(within(t, 10*time.Second), "REQUESTS", cfg); err != nil {
		t.Fatal(err)
	}
	if got, want := provision(t, s), "consumer consumers: changed max_deliver from 3 to -1"; !slices.Contains(got, want) {
		t.Errorf("Provision says %q, want %q", got, want)
	}
	if got, want := provision(t, s), each("nothing to change"); !slices.Equal(got, want) {
		t.Errorf("then it says %q, want %q", got, want)
	}
}

func TestCheckStreamsWithout(t *testing.T) {
	t.Parallel()
	s := bare(t)
	err := publisher(t, s).CheckStreams(within(t, 10*time.Second))
	if err == nil || !strings.Contains(err.Error(), "run `publisher streams`") {
		t.Errorf("no streams: got %v, want what to run", err)
	}
	provision(t, s)
	if err := publisher(t, s).CheckStreams(within(t, 10*time.Second)); err != nil {
		t.Errorf("as a publisher: %v", err)
	}
	if err := consumer(t, s).CheckStreams(within(t, 10*time.Second)); err != nil {
		t.Errorf("as a consumer: %v", err)
	}
	s.Kill()
	if err := dial(t, s.Config(queue.Publisher), queue.Publisher, zerolog.Nop()).Tenant("corp").CheckStreams(within(t, 300*time.Millisecond)); !errors.Is(err, reset.ErrUnavailable) {
		t.Errorf("no broker: got %v, want %v", err, reset.ErrUnavailable)
	}
}

func TestCheckDurable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		interval string
		want     string // of the error; none is none
	}{
		{"as in nats/", "always", ""},
		{"the server's default", `"2m"`, `sync_interval is not "always"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			copyConfig(t, dir, "sync_interval: always", "sync_interval: "+tt.interval)
			files, err := broker.NewFiles(dir, filepath.Join(dir, "nats-server.conf"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := files.Start(t.Context(), binary(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Kill)
			err = connect(t, s.Config(queue.System), queue.System).CheckDurable(within(t, 10*time.Second), 1)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("asked by a user without the right", func(t *testing.T) {
		t.Parallel()
		s := bare(t)
		if err := connect(t, s.Config(queue.Provisioner), queue.Provisioner).CheckDurable(within(t, 300*time.Millisecond), 1); err == nil {
			t.Error("the provisioner can ask, want an error")
		}
	})
}

// copyConfig copies the files of nats/ to dir, with one text changed.
func copyConfig(t *testing.T, dir, before, after string) {
	t.Helper()
	found := false
	for _, name := range []string{"nats-server.conf", "accounts.conf"} {
		text, err := os.ReadFile(filepath.Join(testkit.Root(t), "nats", name))
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.Contains(string(text), before)
		changed := strings.ReplaceAll(string(text), before, after)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatalf("the files of nats/ do not hold %q", before)
	}
}

// TestAllThereWaits: a broker that does not show its streams yet has not lost them.
func TestAllThereWaits(t *testing.T) {
	t.Parallel()
	s := bare(t)
	conn, ctx, answered := connect(t, s.Config(queue.Provisioner), queue.Provisioner), within(t, 20*time.Second), make(chan error)
	go func() { answered <- conn.AllThere(ctx) }()
	provision(t, s)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
