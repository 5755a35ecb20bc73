package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"writeback/internal/reset"
)

// Limits of the streams.
const (
	recordsPerSubject  = 64
	ticketsKept        = time.Hour // so that a page shows its outcome also after the ticket has ended
	maxMessage         = 16 << 10
	ackWait            = 5 * time.Second
	maxAckPending      = 1024
	maxWaiting         = 2048            // pull requests: one for each worker of each replica
	duplicates         = 2 * time.Minute // the broker's default
	deduplicateRequest = reset.QueueAge  // as long as a request can be repeated, and no longer than it is kept
)

// How long records and events are kept, if nothing is said, and at least: a request
// may need its records for a quarter of an hour, and whoever verifies them some
// days of peace.
const (
	DefaultKeep = 400 * 24 * time.Hour
	MinKeep     = 7 * 24 * time.Hour
)

// streams returns what a tenant's account holds. See nats/README.md for why each
// setting is as it is.
func streams(replicas int, keep time.Duration) []jetstream.StreamConfig {
	list := []jetstream.StreamConfig{
		{
			Name:                 streamRequests,
			Description:          "requests that wait for a consumer, one slot an account",
			Subjects:             []string{"req.*"},
			Retention:            jetstream.WorkQueuePolicy,
			Storage:              jetstream.FileStorage,
			Replicas:             replicas,
			MaxMsgsPerSubject:    1,
			Discard:              jetstream.DiscardNew,
			DiscardNewPerSubject: true,
			MaxAge:               reset.QueueAge,
			MaxMsgSize:           maxMessage,
			Duplicates:           deduplicateRequest,
			DenyPurge:            true,
		},
		{
			Name:                 streamRecords,
			Description:          "what happened: the chain of signed records of every request",
			Subjects:             []string{"rec.*.*.*"},
			Storage:              jetstream.FileStorage,
			Replicas:             replicas,
			MaxMsgsPerSubject:    recordsPerSubject,
			Discard:              jetstream.DiscardNew,
			DiscardNewPerSubject: true,
			MaxAge:               keep,
			MaxMsgSize:           maxMessage,
			DenyDelete:           true,
			DenyPurge:            true,
			AllowDirect:          true,
			RePublish: &jetstream.RePublish{
				Source:      "rec.*.*.*",
				Destination: "live.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}",
			},
		},
		{
			Name:        streamEvents,
			Description: "the audit's other records",
			Subjects:    []string{"evt.>"},
			Storage:     jetstream.FileStorage,
			Replicas:    replicas,
			MaxAge:      keep,
			MaxMsgSize:  maxMessage,
			DenyDelete:  true,
			DenyPurge:   true,
			AllowDirect: true,
		},
		{
			// In a file, although it is worth nothing after 30 s: a single
			// server that restarts forgets a stream in memory as a whole.
			Name:              "KV_" + bucketPresence,
			Description:       "which consumers are alive, and what to seal for them",
			Subjects:          []string{presence + ">"},
			Storage:           jetstream.FileStorage,
			Replicas:          replicas,
			MaxMsgsPerSubject: 1,
			MaxAge:            reset.Presence,
			MaxMsgSize:        maxMessage,
			Discard:           jetstream.DiscardNew,
			DenyDelete:        true,
			AllowRollup:       true,
			AllowDirect:       true,
			// What comes through a service import is not exported to others;
			// what the stream sends is.
			RePublish: &jetstream.RePublish{Source: presence + "*", Destination: alive + "{{wildcard(1)}}"},
		},
		{
			Name:              "KV_" + bucketSwitches,
			Description:       "the tenant's two switches",
			Subjects:          []string{"$KV." + bucketSwitches + ".>"},
			Storage:           jetstream.FileStorage,
			Replicas:          replicas,
			MaxMsgsPerSubject: 8,
			MaxMsgSize:        maxMessage,
			Discard:           jetstream.DiscardNew,
			DenyDelete:        true,
			DenyPurge:         true,
		},
		{
			Name:              "KV_" + bucketTickets,
			Description:       "tickets of the reset page, each encrypted with itself",
			Subjects:          []string{"$KV." + bucketTickets + ".*"},
			Storage:           jetstream.FileStorage,
			Replicas:          replicas,
			MaxMsgsPerSubject: 1,
			MaxAge:            ticketsKept,
			MaxMsgSize:        maxMessage,
			Discard:           jetstream.DiscardNew,
			DenyDelete:        true,
			DenyPurge:         true,
		},
	}
	for i := range list {
		// The broker writes "no limit" as -1, and so must we, to compare.
		s := &list[i]
		for _, limit := range []*int64{&s.MaxMsgs, &s.MaxBytes, &s.MaxMsgsPerSubject} {
			if *limit == 0 {
				*limit = -1
			}
		}
		s.MaxConsumers = -1
		if s.Duplicates == 0 {
			s.Duplicates = duplicates
			if s.MaxAge > 0 {
				s.Duplicates = min(duplicates, s.MaxAge)
			}
		}
	}
	return list
}

// workers is the durable consumer that all replicas share.
func workers(replicas int) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       consumerName,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1, // a request that used up its deliveries would block its slot
		MaxAckPending: maxAckPending,
		MaxWaiting:    maxWaiting,
		Replicas:      replicas,
	}
}

// unwanted are settings that nothing of ours may have unless it asks for them:
// each takes back a promise. See nats/README.md.
var unwanted = []string{
	"persist_mode", "no_ack", "sealed", "mirror", "sources", "republish", "subject_transform",
	"allow_msg_ttl", "subject_delete_marker_ttl", "allow_rollup_hdrs", "allow_msg_counter", "allow_msg_schedules",
	"filter_subject", "filter_subjects", "headers_only", "backoff",
}

// drift says how live differs from what is wanted, setting by setting. Settings
// that a broker adds by itself do not count, but for the unwanted ones.
func drift(want, live any) ([]string, error) {
	w, err := settings(want)
	if err != nil {
		return nil, err
	}
	l, err := settings(live)
	if err != nil {
		return nil, err
	}
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(w)) {
		if !reflect.DeepEqual(w[key], l[key]) {
			diff = append(diff, fmt.Sprintf("%s from %s to %s", key, show(key, l[key]), show(key, w[key])))
		}
	}
	for _, key := range unwanted {
		_, wanted := w[key]
		if v, ok := l[key]; ok && !wanted && v != false && v != "default" {
			diff = append(diff, fmt.Sprintf("%s from %s to none", key, show(key, v)))
		}
	}
	return diff, nil
}

// show returns the value of a setting as an operator reads it: JetStream gives
// times in nanoseconds.
func show(key string, v any) string {
	if v == nil {
		return "none"
	}
	if n, ok := v.(float64); ok {
		switch key {
		case "max_age", "duplicate_window", "ack_wait":
			return time.Duration(n).String()
		}
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func settings(config any) (map[string]any, error) {
	b, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	m := make(map[string]any)
	err = json.Unmarshal(b, &m)
	delete(m, "metadata") // the broker adds its own
	return m, err
}

// CheckStreams returns an error if the tenant's two streams in the path of a
// request are not as [Conn.Provision] makes them.
func (t *Tenant) CheckStreams(ctx context.Context) error {
	for _, want := range streams(1, DefaultKeep)[:2] {
		var resp struct {
			Error   *apiError              `json:"error"`
			Config  jetstream.StreamConfig `json:"config"`
			Cluster jetstream.ClusterInfo  `json:"cluster"`
		}
		if err := t.api(ctx, "STREAM.INFO."+want.Name, nil, &resp); err != nil {
			return err
		}
		if resp.Error != nil {
			return fmt.Errorf("stream %s: %w; run `publisher streams`", want.Name, resp.Error)
		}
		want.Replicas = resp.Config.Replicas
		if want.Name == streamRecords && resp.Config.MaxAge >= MinKeep {
			want.MaxAge = resp.Config.MaxAge // as the operator likes
		}
		diff, err := drift(want, resp.Config)
		if err != nil {
			return err
		}
		if len(diff) != 0 {
			return fmt.Errorf("stream %s: must be changed: %v; run `publisher streams`", want.Name, diff)
		}
		if err := enough(resp.Config.Replicas, resp.Cluster.Name); err != nil {
			return fmt.Errorf("stream %s %w", want.Name, err)
		}
	}
	return nil
}

// enough returns an error if a cluster keeps so few replicas that the loss of one
// server is the loss of what it acknowledged. A single server has no cluster's
// name.
func enough(replicas int, cluster string) error {
	if cluster != "" && replicas < 3 {
		return fmt.Errorf("is on %d of the servers of cluster %s: set `replicas: 3` and run `publisher streams`", max(replicas, 1), cluster)
	}
	return nil
}
