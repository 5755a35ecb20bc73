package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"writeback/internal/audit"
	"writeback/internal/envelope"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/memq"
)

// What is not a request of ours touches nothing: neither a chain nor the
// directory.
func TestNotARequest(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *draft)
		reason string
	}{
		{"cut short", func(_ *testing.T, d *draft) { d.cut = 1 }, notARequest},
		{"signed by nobody known", func(t *testing.T, d *draft) {
			d.signer = audit.NewLog(keys.Signer(t, seal.PurposePublisher, 9), "pub1")
		}, unknownSigner},
		{"of another tenant", func(_ *testing.T, d *draft) { d.header.Tenant = "other" }, otherTenant},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				r, ref := w.deliver(func(d *draft) { tt.change(t, d) })
				w.run(t.Context(), r)
				w.expect(ref, "")
				if !r.dropped || w.dir.sets != 0 {
					t.Errorf("dropped %t, %d modifies; want true, 0", r.dropped, w.dir.sets)
				}
				if n := testutil.ToFloat64(w.metrics.dropped.WithLabelValues(tt.reason)); n != 1 {
					t.Errorf("%s counted %v times, want 1", tt.reason, n)
				}
			})
		})
	}
}

// What a pinned publisher signed and nobody can act on ends as unreadable.
func TestUnreadable(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *draft)
	}{
		{"the body is bound to another header", func(_ *testing.T, d *draft) { d.rebound = true }},
		{"in another slot", func(_ *testing.T, d *draft) { d.header.Slot = [16]byte{2} }},
		{"a deadline too far away", func(_ *testing.T, d *draft) { d.header.Deadline = d.header.Deadline.Add(time.Second) }},
		{"sealed for nobody alive", func(t *testing.T, d *draft) { d.box = keys.Box(t) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				r, ref := w.deliver(func(d *draft) { tt.change(t, d) })
				w.run(t.Context(), r)
				w.expect(ref, reset.Unreadable, envelope.Claimed, envelope.Settled)
				if !r.acked || w.dir.sets != 0 {
					t.Errorf("acked %t, %d modifies; want true, 0", r.acked, w.dir.sets)
				}
			})
		})
	}
}

// Sealed for a replica that is alive: it is left to that one, also by one whose
// clock is ahead of all others.
func TestSealedForAnother(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprintf("ahead by %s", ahead), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				box := keys.Box(t)
				other := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 2), "replica2")
				a := envelope.Announcement{Tenant: tenantName, Replica: "replica2", Run: other.Run(), Time: time.Now().Add(-ahead),
					Box: [envelope.BoxSize]byte(box), Signer: other.Public().ID()}
				a.Sig = other.Sign(seal.KindAnnounce, a.Signed())
				w.presence.hear(a.Encode())
				r, ref := w.deliver(func(d *draft) { d.box = box })
				w.run(t.Context(), r)
				w.expect(ref, "")
				if r.handedBack == 0 {
					t.Error("not handed back")
				}
				time.Sleep(reset.Presence + time.Second) // the other is gone
				w.run(t.Context(), r)
				w.expect(ref, reset.Unreadable, envelope.Claimed, envelope.Settled)
			})
		})
	}
}

// A replica that may have missed what the others said must not say that nobody
// holds a key.
func TestSealedForAnotherUnheard(t *testing.T) {
	tests := []struct {
		name string
		deaf func(*world) // for less than listening from now on
	}{
		{"it has just started", func(w *world) { w.presence.spoke(time.Now(), true) }},
		{"the broker was away until now", func(w *world) {
			for _, stored := range []bool{true, true, false} {
				w.presence.spoke(time.Now(), stored)
				time.Sleep(announceEvery)
			}
			w.presence.spoke(time.Now(), false)
			time.Sleep(soon)
			w.presence.spoke(time.Now(), true)
		}},
		{"it stood still", func(w *world) {
			w.presence.spoke(time.Now(), true)
			time.Sleep(announceEvery)
			w.presence.spoke(time.Now(), true)
			time.Sleep(reset.Presence)
		}},
		{"it stood still, and goes on", func(w *world) {
			w.presence.spoke(time.Now(), true)
			time.Sleep(reset.Presence)
			w.presence.spoke(time.Now(), true)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tt.deaf(w)
				r, ref := w.deliver(func(d *draft) { d.box = keys.Box(t) })
				w.run(t.Context(), r)
				w.expect(ref, "")
				if r.handedBack == 0 {
					t.Error("not handed back")
				}
				w.presence.spoke(time.Now(), true)
				time.Sleep(announceEvery)
				w.presence.spoke(time.Now(), true)
				time.Sleep(soon + time.Second)
				w.presence.spoke(time.Now(), true)
				time.Sleep(announceEvery)
				w.run(t.Context(), r)
				w.expect(ref, reset.Unreadable, envelope.Claimed, envelope.Settled)
			})
		})
	}
}

// An announcement from the future would make a replica that is gone look alive.
func TestAnnouncementFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		box := keys.Box(t)
		other := audit.NewLog(keys.Signer(t, seal.PurposeConsumer, 2), "replica2")
		a := envelope.Announcement{Tenant: tenantName, Replica: "replica2", Run: other.Run(),
			Time: time.Now().Add(time.Hour), Box: [envelope.BoxSize]byte(box), Signer: other.Public().ID()}
		a.Sig = other.Sign(seal.KindAnnounce, a.Signed())
		w.presence.hear(a.Encode())
		r, ref := w.deliver(func(d *draft) { d.box = box })
		w.run(t.Context(), r)
		w.expect(ref, reset.Unreadable, envelope.Claimed, envelope.Settled)
	})
}

func TestRefusedBeforeTheModify(t *testing.T) {
	tests := []struct {
		name   string
		change func(*world)
		want   reset.Code
	}{
		{"not found", func(w *world) {
			w.dir.find = func() (reset.Entry, error) { return reset.Entry{}, &reset.Error{Code: reset.AccountNotFound} }
		}, reset.AccountNotFound},
		{"refused by the policy before the search", func(w *world) {
			w.cfg.Policy = &policy{before: &reset.Error{Code: reset.OperationOff}}
			w.dir.begin = func(context.Context) error { panic("the directory was asked") }
		}, reset.OperationOff},
		{"refused by the policy", func(w *world) {
			w.cfg.Policy = &policy{judge: &reset.Error{Code: reset.AccountProtected}}
			w.entry.Disabled = true // which the policy's word comes before
		}, reset.AccountProtected},
		{"disabled", func(w *world) { w.entry.Disabled = true }, reset.AccountDisabled},
		{"its end date has passed", func(w *world) { w.entry.Expired = true }, reset.AccountDisabled},
		{"a password was set since it was accepted", func(w *world) {
			w.dir.find = func() (reset.Entry, error) {
				set := time.Now().Add(2*reset.ClockSkew + time.Second)
				return reset.Entry{Witness: reset.Witness{PwdLastSet: (set.Unix() + 11644473600) * 1e7}}, nil
			}
		}, reset.Expired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tt.change(w)
				r, ref := w.deliver(nil)
				w.run(t.Context(), r)
				w.expect(ref, tt.want, envelope.Claimed, envelope.Settled)
				if !r.acked || w.dir.sets != 0 {
					t.Errorf("acked %t, %d modifies; want true, 0", r.acked, w.dir.sets)
				}
			})
		})
	}
}

// No modify on a claim that is not fresh: it is released, and claimed anew.
func TestSlowClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, ref := w.deliver(nil)
		claims := 0
		w.queue.OnAppend(func(_ int, data []byte) memq.Fault {
			if rec, err := envelope.ParseRecord(data); err == nil && rec.Kind == envelope.Claimed {
				if claims++; claims == 1 {
					time.Sleep(reset.Window + time.Millisecond)
				}
			}
			return nil
		})
		w.run(t.Context(), r)
		w.expect(ref, reset.Applied, envelope.Claimed, envelope.Released, envelope.Claimed, envelope.Settled)
		if w.dir.sets != 1 {
			t.Errorf("%d modifies, want 1", w.dir.sets)
		}
	})
}

// No modify after the deadline, however short before it was claimed.
func TestDeadlinePassesAtTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, ref := w.deliver(nil)
		time.Sleep(reset.Deadline - time.Millisecond)
		w.queue.OnAppend(func(int, []byte) memq.Fault { time.Sleep(2 * time.Millisecond); return nil })
		w.run(t.Context(), r)
		w.expect(ref, "", envelope.Claimed, envelope.Released)
		if w.dir.sets != 0 || r.handedBack == 0 {
			t.Errorf("%d modifies, handed back after %s; want 0, and handed back", w.dir.sets, r.handedBack)
		}
	})
}

func TestPastDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, ref := w.deliver(nil)
		time.Sleep(reset.Deadline + time.Millisecond)
		w.run(t.Context(), r)
		w.expect(ref, "")
		if w.dir.sets != 0 || r.handedBack == 0 {
			t.Errorf("%d modifies, handed back after %s; want 0, and left to the publisher", w.dir.sets, r.handedBack)
		}
	})
}

func TestDirectoryAway(t *testing.T) {
	away := func() error { return reset.ErrDirectoryUnavailable }
	t.Run("before the claim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.dir.begin = func(context.Context) error { return away() }
			r, ref := w.deliver(nil)
			w.run(t.Context(), r)
			w.expect(ref, "")
			w.dir.begin = nil
			w.run(t.Context(), r)
			w.expect(ref, reset.Applied, envelope.Claimed, envelope.Settled)
		})
	})
	t.Run("after the claim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.dir.set = away
			r, ref := w.deliver(nil)
			w.run(t.Context(), r)
			w.expect(ref, "", envelope.Claimed, envelope.Released)
			if r.handedBack == 0 {
				t.Error("not handed back")
			}
			w.dir.set = func() error { return nil }
			w.run(t.Context(), r)
			w.expect(ref, reset.Applied, envelope.Claimed, envelope.Released, envelope.Claimed, envelope.Settled)
		})
	})
}

// The publisher cancels while we look for the account: the cancel wins.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, ref := w.deliver(nil)
		find := w.dir.find
		w.dir.find = func() (reset.Entry, error) {
			stored, _ := w.queue.Records(t.Context(), ref.ID)
			chain, err := w.verify.Verify(ref.ID, stored)
			if err != nil {
				t.Fatal(err)
			}
			last := chain.Last()
			rec := envelope.Record{Kind: envelope.Cancelled, Tenant: tenantName, Publisher: "pub1", ID: ref.ID,
				Operation: reset.Reset, Code: reset.Expired, Time: time.Now(), Parent: last.Hash, ParentSeq: last.Seq}
			data, err := w.publisher.Record(&rec, envelope.Private{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.queue.Append(t.Context(), ref, data, last.Seq); err != nil {
				t.Fatal(err)
			}
			return find()
		}
		w.run(t.Context(), r)
		w.expect(ref, reset.Expired, envelope.Cancelled)
		if w.dir.sets != 0 || !r.acked {
			t.Errorf("%d modifies, acked %t; want 0, true", w.dir.sets, r.acked)
		}
	})
}

// Our clock is behind the publisher's: nothing is applied, and health says so.
func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, ref := w.deliver(func(d *draft) {
			d.header.Accepted = d.header.Accepted.Add(reset.ClockSkew + time.Second)
			d.header.Deadline = d.header.Deadline.Add(reset.ClockSkew + time.Second)
		})
		w.run(t.Context(), r)
		w.expect(ref, "")
		if err := w.Clock(t.Context()); err == nil || r.handedBack == 0 {
			t.Errorf("Clock = %v, handed back after %s; want an error, and handed back", err, r.handedBack)
		}
	})
}

// A request that fails for ever does not fill its subject: there is always room
// for the record that ends it.
func TestChainStaysShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dir.set = func() error { return reset.ErrDirectoryUnavailable }
		r, ref := w.deliver(nil)
		for range 100 {
			w.run(t.Context(), r)
			time.Sleep(time.Second)
		}
		if kinds, _ := w.chain(ref); len(kinds) > maxChain+1 || kinds[len(kinds)-1] != envelope.Released {
			t.Errorf("%d records, the last %s", len(kinds), kinds[len(kinds)-1])
		}
	})
}

// A stop does not cut off a modify that is on its way: that would leave its
// outcome unknown.
func TestStopDuringTheModify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		w.dir.set = func() error {
			cancel(errStopping)
			return w.dir.ctx.Err()
		}
		r, ref := w.deliver(nil)
		w.run(ctx, r)
		w.expect(ref, reset.Applied, envelope.Claimed, envelope.Settled)
		if !r.acked {
			t.Error("not acknowledged")
		}
	})
}

// What is in hand at the stop is finished if it can be, else handed back.
func TestStop(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration // of finding the account
		want  time.Duration // until Run returns
		acked bool
	}{
		"finished in time": {5 * time.Second, 5 * time.Second, true},
		"handed back":      {time.Hour, DefaultSoftStop, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				r, _ := w.deliver(nil)
				r.Receipt = r
				taken := make(chan struct{})
				w.dir.begin = func(ctx context.Context) error {
					close(taken)
					select {
					case <-time.After(tt.takes):
						return nil
					case <-ctx.Done():
						return errors.Join(reset.ErrDirectoryUnavailable, ctx.Err())
					}
				}
				w.cfg.Workers, w.cfg.Take = 1, once(r)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- w.Run(ctx) }()
				<-taken
				begun := time.Now()
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run = %v", err)
				}
				// findTimeout bounds the way to the account.
				if took := time.Since(begun); took > min(tt.want, DefaultSoftStop) {
					t.Errorf("stopped after %s, want at most %s", took, tt.want)
				}
				if r.acked != tt.acked || (r.handedBack == 0) == !tt.acked {
					t.Errorf("acked %t, handed back after %s", r.acked, r.handedBack)
				}
			})
		})
	}
}
