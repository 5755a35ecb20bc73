package publisher

import (
	"context"
	"time"

	"writeback/internal/reset"
)

// Ref returns the name of the request that this publisher will accept under id.
func (p *Publisher) Ref(id reset.ID) reset.Ref {
	return reset.Ref{Publisher: p.cfg.Log.Name(), ID: id}
}

// Pauses between two looks at a request of another publisher.
const (
	lookFirst = pollEvery
	lookLast  = 2 * time.Second
)

// Watch calls f with what is known of a request of tenant, and again whenever more
// is, until nothing more can come: it has ended, for certain, or the time is over
// in which the truth about an unconfirmed one may be found out. It returns
// earlier with f's error, with that of ctx, or with nil when the program stops. If there is no
// such request it returns a [*reset.Refusal] and does not call f. Who is slow in
// f misses what is between two calls, and keeps nobody waiting.
func (p *Publisher) Watch(ctx context.Context, tenant string, ref reset.Ref, f func(reset.Status) error) error {
	st, err := p.Status(ctx, tenant, ref)
	if err != nil {
		return err
	}
	t := p.tenants[tenant]
	if fl := t.flight(ref.ID); fl != nil && fl.ref == ref {
		return fl.watch(ctx, f)
	}
	if err := f(st); err != nil {
		return err
	}
	for pause := lookFirst; st.Open(time.Now()); pause = min(2*pause, lookLast) {
		if ok, err := p.pause(ctx, pause); !ok {
			return err
		}
		chain, err := p.read(ctx, t, ref.ID)
		if err != nil || len(chain) == 0 {
			continue // the broker is away; what is known stays true
		}
		if next := p.status(t, chain, time.Time{}, reset.Timeline{}); differs(next, st) {
			if err := f(next); err != nil {
				return err
			}
			st, pause = next, lookFirst
		}
	}
	return nil
}

// watch is Watch for a request in this publisher's hands.
func (f *flight) watch(ctx context.Context, each func(reset.Status) error) error {
	for {
		_, changed := f.open() // taken first: a change after it is not missed
		st := f.status()
		if err := each(st); err != nil || !st.Open(time.Now()) {
			return err
		}
		end := time.NewTimer(time.Until(st.Accepted.Add(reset.Correctable)))
		select {
		case <-changed:
			end.Stop()
		case <-end.C:
			return nil
		case <-f.p.dismiss:
			end.Stop()
			return nil
		case <-ctx.Done():
			end.Stop()
			return ctx.Err()
		}
	}
}

// pause waits, and reports whether to go on.
func (p *Publisher) pause(ctx context.Context, d time.Duration) (bool, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-p.dismiss:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// differs reports whether a says more than b.
func differs(a, b reset.Status) bool {
	return a.State != b.State || a.Outcome.Code != b.Outcome.Code || a.Consumer != b.Consumer
}
