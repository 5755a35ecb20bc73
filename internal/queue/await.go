package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
)

// streamsAgain is how often it is looked for streams that are not there yet.
const streamsAgain = 2 * time.Second

// AwaitStreams waits until the tenant's streams are there, which somebody may make
// after this program was started, and logs now and then that it does. Its error is
// that of CheckStreams for streams that are there and not as they must be, or that
// ctx has ended.
func (t *Tenant) AwaitStreams(ctx context.Context) error {
	tick := time.NewTicker(streamsAgain)
	defer tick.Stop()
	for {
		err := t.CheckStreams(ctx)
		t.c.noteStreams(t.prefix, err)
		if refusal(err) != int(jetstream.JSErrCodeStreamNotFound) {
			t.c.streamless.Over()
			return err
		}
		t.c.log.WithLevel(t.c.streamless.Level(zerolog.WarnLevel, err)).AnErr(obs.Cause, err).
			Msg("the broker does not have the tenant's streams; they are waited for")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// noteStreams remembers what was found of a tenant's streams.
func (c *Conn) noteStreams(prefix string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == nil {
		c.streams = make(map[string]error)
	}
	if c.streams[prefix] = err; err == nil {
		delete(c.streams, prefix)
	}
}

// Streams returns an error if streams are waited for. It is a check of /readyz.
func (c *Conn) Streams(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, prefix := range slices.Sorted(maps.Keys(c.streams)) {
		return fmt.Errorf("tenant %s: %w", strings.TrimSuffix(prefix, "."), c.streams[prefix])
	}
	return nil
}
