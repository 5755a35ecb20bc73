package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"writeback/internal/testkit"
	"writeback/internal/testkit/samba"
)

const (
	callers = 4
	pace    = 500 * time.Millisecond // between two resets of one caller
	enough  = 20                     // resets that show what a phase is like
	few     = 4                      // looks in a row that show where resets are done
)

// Traffic is callers that reset one password after the other, each of an
// account of its own: of two passwords that an account was given on two domain
// controllers within the time that replication takes, either may stay.
type traffic struct {
	lab   *Lab
	stop  func()
	ended sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed at the next change of what follows
	unused   []testkit.User
	phases   []string
	done     []done
	notReady map[string]string // by phase, one answer
}

// unreadyFor is how long a consumer may be unready while one domain controller is
// well: a busy machine's may take a second to connect to, which is remembered for a
// while and was no request's fault.
const unreadyFor = 40 * time.Second

// A done is a reset that has ended.
type done struct {
	user     testkit.User
	password string
	phase    int // in which it ended
	took     time.Duration
	answer   response
	err      error
}

func startTraffic(t *testing.T, l *Lab) *traffic {
	t.Helper()
	s := &traffic{lab: l, changed: make(chan struct{}), notReady: map[string]string{}, phases: []string{"before"}}
	s.addUsers(t, 700)
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	t.Cleanup(s.end)
	e := l.endpoints(t)
	for range callers {
		s.ended.Go(func() {
			for tick := time.Tick(pace); ; {
				select {
				case <-tick:
					if !s.reset(t, e) {
						t.Error("more resets than accounts")
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	for name, url := range operations(t, l.Dir, l.opts.Consumers) {
		s.ended.Go(func() {
			well := time.Now()
			for tick := time.Tick(pace); ; {
				select {
				case <-tick:
					err := ready(t.Context(), name, url)
					if err == nil {
						well = time.Now()
					}
					if time.Since(well) > unreadyFor {
						s.mu.Lock()
						s.notReady[s.phases[len(s.phases)-1]] = err.Error()
						s.mu.Unlock()
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return s
}

// addUsers adds users and waits until both domain controllers have them.
func (s *traffic) addUsers(t *testing.T, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range n / callers {
				u, err := samba.NewUser(t.Context(), s.lab.Directory, samba.UserSpec{})
				if err != nil {
					t.Error(err)
					return
				}
				s.mu.Lock()
				s.unused = append(s.unused, u)
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := s.lab.Pair.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// reset resets a password, if there is an account that is left for it.
func (s *traffic) reset(t *testing.T, e *Endpoints) bool {
	s.mu.Lock()
	if len(s.unused) == 0 {
		s.mu.Unlock()
		return false
	}
	d := done{user: s.unused[0], password: samba.NewPassword()}
	s.unused = s.unused[1:]
	s.mu.Unlock()
	begun := time.Now()
	d.answer, d.err = e.post(t.Context(), "upn", d.user.UPN, d.password)
	d.took = time.Since(begun)
	s.mu.Lock()
	defer s.mu.Unlock()
	d.phase = len(s.phases) - 1
	s.done = append(s.done, d)
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

func (s *traffic) enter(phase string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phases = append(s.phases, phase)
}

// await waits until n resets have ended that began now or later.
func (s *traffic) await(t *testing.T, n int) {
	t.Helper()
	late := time.After(2 * time.Minute)
	s.mu.Lock()
	for n += len(s.done) + callers; len(s.done) < n; {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			t.Fatal("the stream of resets has come to a halt")
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
}

// awaitAt waits until the last resets were all done by d.
func (s *traffic) awaitAt(t *testing.T, d *samba.Domain) {
	t.Helper()
	for left := few; left > 0; left-- {
		if used, _ := s.inUse(t); used != d {
			left = few
		}
	}
}

// inUse returns which domain controller did a reset just now, and the other.
// Both must run.
func (s *traffic) inUse(t *testing.T) (used, other *samba.Domain) {
	t.Helper()
	s.await(t, 1)
	s.mu.Lock()
	last := s.done[len(s.done)-1]
	s.mu.Unlock()
	p := s.lab.Pair
	admin, err := samba.Bind(p.DC1.Directory, p.DC1.AdminDN, p.DC1.AdminPassword)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if versions, by := passwordSet(t, admin, last.user.DN); versions > 1 && by == invocation(t, p.DC1) {
		return p.DC1, p.DC2
	}
	return p.DC2, p.DC1 // which has replicated it, or will
}

// end has no more resets begin, and waits for the last ones.
func (s *traffic) end() {
	s.stop()
	s.ended.Wait()
}

// judge holds what the callers were told against what both domain controllers
// say, and prints it by phase.
func (s *traffic) judge(t *testing.T) {
	t.Helper()
	pair := s.lab.Pair
	dcs := []*samba.Domain{pair.DC1, pair.DC2}
	names := map[[16]byte]string{}
	for i, d := range dcs {
		names[invocation(t, d)] = fmt.Sprintf("dc%d", i+1)
	}
	doubted := s.lab.doubted(t)
	type sum struct {
		ended, applied, doubts int
		slowest                time.Duration
		by                     map[string]int
	}
	sums := make([]sum, len(s.phases))
	for i, way := range dcs {
		admin, err := samba.Bind(way.Directory, way.AdminDN, way.AdminPassword)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		for _, d := range s.done {
			at := &sums[d.phase]
			versions, by := passwordSet(t, admin, d.user.DN)
			if versions != 2 {
				t.Errorf("%s: %s knows version %d of the password, want 2: the one it began with and the new one", d.user.UPN, way.Host, versions)
			}
			conn, err := samba.Bind(way.Directory, d.user.DN, d.password)
			if err != nil {
				t.Errorf("%s, told %q: %s does not take the new password: %v", d.user.UPN, d.answer.Code, way.Host, err)
			} else {
				conn.Close()
			}
			if i > 0 {
				continue
			}
			if at.ended++; at.by == nil {
				at.by = map[string]int{}
			}
			at.by[names[by]]++
			at.slowest = max(at.slowest, d.took)
			if doubted[d.answer.ID] {
				at.doubts++
			}
			if d.err == nil && d.answer.Status == 200 && d.answer.Code == "applied" && d.answer.Final {
				at.applied++
			} else {
				t.Errorf("%s: a reset of %s ended as %v %s", s.phases[d.phase], d.user.UPN, d.err, d.answer.Body)
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "phase\tresets\tapplied\tin doubt\tslowest\tset by\tconsumers")
	for i, name := range s.phases {
		var by []string
		for _, dc := range slices.Sorted(maps.Keys(sums[i].by)) {
			by = append(by, fmt.Sprintf("%s %d", dc, sums[i].by[dc]))
		}
		health := "ready"
		if why := s.notReady[name]; why != "" {
			health = "NOT READY"
			t.Errorf("%s: %s", name, why)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\n", name, sums[i].ended, sums[i].applied, sums[i].doubts,
			sums[i].slowest.Round(time.Millisecond), strings.Join(by, ", "), health)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// doubted returns the requests of which a modify was not answered.
func (l *Lab) doubted(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for i := range l.opts.Consumers {
		text, err := os.ReadFile(l.path("logs", consumerName(i)+".log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Message, Request string }
			if json.Unmarshal(line, &entry) == nil && entry.Message == "request is in doubt" {
				all[entry.Request] = true
			}
		}
	}
	return all
}
