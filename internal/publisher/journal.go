package publisher

import (
	"context"
	"fmt"
	"sync"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/obs"
	"writeback/internal/reset"
)

// Journal returns the journal of a tenant, for events that others tell of; ok is
// false if the tenant is not served here.
func (p *Publisher) Journal(tenant string) (j *audit.Journal, ok bool) {
	t := p.tenants[tenant]
	if t == nil {
		return nil, false
	}
	return t.journal, true
}

// Tell returns when an event is stored in a tenant's journal, so that what it
// announces may be done. Its error is a [*reset.Refusal]: the event may be stored
// later all the same.
func (p *Publisher) Tell(ctx context.Context, tenant string, f envelope.Fact, private *envelope.Private) error {
	j, ok := p.Journal(tenant)
	if !ok {
		return notServed(tenant)
	}
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if err := j.Write(ctx, f, private); err != nil {
		return &reset.Refusal{Code: reset.BrokerUnavailable, Detail: nothingDone, RetryAfter: retryAfter,
			Err: fmt.Errorf("telling the audit of %s: %w", f.Kind(), err)}
	}
	return nil
}

// keepJournals writes the journals of all tenants until stop is called, which is
// when the last record was written.
func (p *Publisher) keepJournals(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	for _, t := range p.tenants {
		wg.Go(func() { t.journal.Run(ctx) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// sighting returns what a tenant's presence tells of.
func (p *Publisher) sighting(j *audit.Journal) func(envelope.ReplicaSeen) {
	return func(s envelope.ReplicaSeen) {
		p.metrics.sightings.WithLabelValues(s.How.String()).Inc()
		j.Note(s, nil)
	}
}

// runs are those of one replica.
type runs struct {
	newest [16]byte
	twice  map[[16]byte]bool // every run, and whether it was told to be one of two
}

// maxRuns is how many runs of a replica are remembered. Who has a consumer's key
// can invent more, which makes old ones look new.
const maxRuns = 1024

// sight tells of the replica that a is of, if its run is not the newest that was
// heard of; p.mu is held.
func (p *presence) sight(a *envelope.Announcement) {
	s := envelope.ReplicaSeen{Replica: a.Replica, Run: a.Run, Key: a.Signer, How: envelope.NewRun}
	r := p.runs[a.Replica]
	switch {
	case r == nil:
		s.How = envelope.FirstSight
		r = &runs{twice: make(map[[16]byte]bool)}
		p.runs[a.Replica] = r
	case r.newest == a.Run:
		return
	case len(r.twice) >= maxRuns:
		clear(r.twice)
	}
	r.newest = a.Run
	told, known := r.twice[a.Run]
	r.twice[a.Run] = known
	if known { // another had taken its place, and it is still there
		s.How = envelope.TwoRuns
	}
	if told {
		return
	}
	if known {
		p.log.Error().Str(obs.Consumer, a.Replica).Msg("two consumers use one name at the same time; give each a name of its own")
	}
	p.tell(s)
}
