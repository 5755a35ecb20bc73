package portal

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"writeback/internal/portal/sse"
	"writeback/internal/reset"
)

// How many streams of events there are, in all and for one caller. Each holds a
// connection and a few kilobytes for as long as its request is not over.
const (
	maxStreams    = 1000
	callerStreams = 100
)

// The names of the events of a request, in the order in which they come. Their place
// is their id: who comes back with it gets what is after it. What is known of an
// unconfirmed one later is one event more.
const (
	eventAccepted = "accepted"
	eventPickedUp = "picked_up"
	eventOutcome  = "outcome"
)

// A step is one event of a request, with what was known of it then.
type step struct {
	ID     int
	Name   string
	Status reset.Status
}

// stepsOf returns the steps that a request has taken after the one with id last,
// oldest first.
func stepsOf(st reset.Status, last int) []step {
	early := st
	early.State, early.Outcome, early.Final, early.Consumer, early.Finished = reset.Accepted, reset.Outcome{}, false, "", time.Time{}
	early.Timeline.PickedUp, early.Timeline.Applied, early.Timeline.Answered = 0, 0, 0
	all := []step{{1, eventAccepted, early}}
	if st.Consumer != "" {
		claimed := early
		claimed.State, claimed.Consumer, claimed.Timeline.PickedUp = reset.PickedUp, st.Consumer, st.Timeline.PickedUp
		all = append(all, step{2, eventPickedUp, claimed})
	}
	switch {
	case st.State != reset.Final:
	case st.Outcome.Code == reset.Unconfirmed:
		all = append(all, step{3, eventOutcome, st})
	default:
		all = append(all, step{4, eventOutcome, st})
	}
	for len(all) > 0 && all[0].ID <= last {
		all = all[1:]
	}
	return all
}

// getEvents is GET /v1/requests/{id}/events.
func (a *api) getEvents(r *http.Request, ev *event) (*answer, error) {
	token, ref, st, err := a.known(r, ev)
	if err != nil {
		return nil, err
	}
	last := sse.LastID(r)
	if len(stepsOf(st, last)) == 0 && st.State == reset.Final && st.Outcome.Code != reset.Unconfirmed {
		// A browser would come back for ever to a stream that ends.
		return &answer{status: http.StatusNoContent}, nil
	}
	release, ok := a.streams.Take(token.ID)
	if !ok {
		return nil, ev.beyond(limitStreams, time.Minute)
	}
	return &answer{status: http.StatusOK, stream: func(w http.ResponseWriter) error {
		defer release()
		return sse.Serve(w, r, func(ctx context.Context, s *sse.Stream) error {
			return a.Publisher.Watch(ctx, token.Tenant, ref, func(st reset.Status) error {
				for _, e := range stepsOf(st, last) {
					data, err := json.Marshal(newObject(e.Status))
					if err != nil {
						return err
					}
					if err := s.Send(e.ID, e.Name, data); err != nil {
						return err
					}
					last, ev.code = e.ID, string(e.Status.Outcome.Code)
				}
				return nil
			})
		})
	}}, nil
}

// left reports whether err is that of a stream whose reader is gone, which is no
// defect of ours.
func left(err error) bool {
	return errors.Is(err, context.Canceled)
}
