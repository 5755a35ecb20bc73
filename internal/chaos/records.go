package chaos

import (
	"context"
	"fmt"
	"time"

	"writeback/internal/audit"
	"writeback/internal/chaos/history"
	"writeback/internal/envelope"
	"writeback/internal/queue"
	"writeback/internal/reset"
	"writeback/internal/seal"
)

// A Reader reads what RECORDS holds, as a publisher.
type Reader struct {
	Broker *queue.Tenant
	Verify audit.Verifier
	Months seal.MonthKeys
}

// Chains returns the chains of all requests that were accepted since then.
func (r Reader) Chains(ctx context.Context, since time.Time) ([]history.Chain, error) {
	var refs []reset.Ref
	known := make(map[reset.Ref]bool)
	if err := r.Broker.Scan(ctx, since, func(ref reset.Ref) error {
		if !known[ref] {
			known[ref] = true
			refs = append(refs, ref)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("looking for requests: %w", err)
	}
	var chains []history.Chain
	for _, ref := range refs {
		stored, err := r.Broker.Records(ctx, ref.ID)
		if err != nil {
			return nil, fmt.Errorf("reading the records of %s: %w", ref, err)
		}
		chains = append(chains, history.Read(r.Verify, r.open, ref, stored))
	}
	return chains, nil
}

func (r Reader) open(l audit.Link) (*envelope.Private, error) {
	return audit.PrivateRecord(r.Months, l)
}
