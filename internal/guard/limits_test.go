package guard

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

// A step is a request at a time after noon, and what becomes of it.
type step struct {
	after time.Duration
	want  string // in the error; "" is let through
	ask   func(*Ask)
	guid  byte
}

func TestLimits(t *testing.T) {
	admin := func(a *Ask) { a.Actor = reset.Admin }
	probe := func(a *Ask) { a.Operation = reset.Probe }
	unlock := func(a *Ask) { a.Operation = reset.Unlock }
	off := func(a *Ask) { a.Name = reset.SID }
	same := func(a *Ask) { a.Request = [32]byte{7} }
	const most = "per_minute: 1000, per_hour: 1000, per_account_day: 1000, admin_per_hour: 1000"
	tests := []struct {
		name   string
		limits string
		steps  []step
	}{
		{"a minute, at its edge", "per_minute: 2", []step{
			{0, "", nil, 1}, {30 * time.Second, "", nil, 1}, {59999 * time.Millisecond, "per_minute, 2,", nil, 1},
			{time.Minute, "", nil, 1}, {time.Minute, "per_minute", nil, 1}, {90 * time.Second, "", nil, 1},
		}},
		{"an hour, at its edge", "per_hour: 2", []step{
			{0, "", nil, 1}, {time.Minute, "", nil, 2}, {time.Hour - 1, "per_hour, 2,", nil, 3},
			{time.Hour, "", nil, 3}, {time.Hour, "per_hour", nil, 4}, {time.Hour + time.Minute, "", nil, 4},
		}},
		{"an account's day, at its edge", "per_account_day: 2", []step{
			{0, "", nil, 1}, {time.Hour, "", nil, 1}, {2 * time.Hour, "per_account_day, 2,", nil, 1}, {2 * time.Hour, "", nil, 2},
			{day - 1, "per_account_day", nil, 1}, {day, "", nil, 1}, {day, "per_account_day", nil, 1}, {day + time.Hour, "", nil, 1},
		}},
		{"an account's day outlives sweeping", "per_account_day: 1", []step{
			{0, "", nil, 1}, {5 * time.Hour, "", nil, 2}, {day - time.Minute, "", nil, 4}, {day - 1, "per_account_day", nil, 1}, {day, "", nil, 3},
			{day + time.Hour, "per_account_day", nil, 2}, {day + time.Hour, "", nil, 1},
		}},
		{"admin has an hour's limit of its own", "admin_per_hour: 1", []step{
			{0, "", admin, 1}, {time.Minute, "admin_per_hour, 1,", admin, 2}, {time.Minute, "", nil, 2},
			{time.Hour - 1, "admin_per_hour", admin, 2}, {time.Hour, "", admin, 2},
		}},
		{"admin counts in the common limits", "per_hour: 1", []step{{0, "", admin, 1}, {0, "per_hour", nil, 2}}},
		{"unlock counts", "per_minute: 1", []step{{0, "", unlock, 1}, {0, "per_minute", nil, 1}}},
		{"probe does not count", "per_minute: 1, per_account_day: 1", []step{
			{0, "", probe, 1}, {0, "", probe, 1}, {0, "", nil, 1}, {0, "per_minute", probe, 1}, {time.Minute, "per_account_day", probe, 1},
		}},
		{"refused does not count", "per_minute: 1", []step{
			{0, "names", off, 1}, {0, "adminCount", nil, 99}, {0, "", nil, 1},
			{59 * time.Second, "per_minute", nil, 1}, {time.Minute, "", nil, 1},
		}},
		{"judged again", "per_minute: 2, per_account_day: 2", []step{
			{0, "", same, 1}, {1, "", same, 1}, {2, "", same, 1}, {3, "", nil, 1}, {4, "per_minute", nil, 1}, {5, "", same, 1},
		}},
		{"judged again, for another account", "per_minute: 1", []step{{0, "", same, 1}, {1, "per_minute", same, 2}}},
		{"judged again, and now off", "per_minute: 1", []step{{0, "", same, 1}, {1, "names", func(a *Ask) { same(a); off(a) }, 1}}},
		{"times out of order", "per_minute: 2", []step{
			{time.Second, "", nil, 1}, {0, "", nil, 2}, {60 * time.Second, "per_minute", nil, 1}, {61 * time.Second, "", nil, 1},
		}},
		{"a clock set back", "per_minute: 1", []step{
			{time.Hour, "", nil, 1}, {0, "per_minute", nil, 1}, {time.Minute, "per_minute", nil, 1}, {time.Hour + time.Minute, "", nil, 1},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Keys of a flow mapping must not come twice.
			rest := ""
			for _, l := range strings.Split(most, ", ") {
				if key, _, _ := strings.Cut(l, ":"); !strings.Contains(", "+tt.limits, ", "+key+":") {
					rest += ", " + l
				}
			}
			w := open(t, basic+"limits: {"+tt.limits+rest+"}")
			for i, s := range tt.steps {
				a, e := asking(), ada()
				a.At = noon.Add(s.after)
				if s.ask != nil {
					s.ask(&a)
				}
				e.GUID = [16]byte{s.guid}
				e.Privileges.AdminCount = s.guid == 99
				err := w.Judge(a, e)
				if (err == nil) != (s.want == "") || err != nil && !strings.Contains(err.Error(), s.want) {
					t.Fatalf("step %d, after %s: %v, want %q", i, s.after, err, s.want)
				}
				if err != nil && strings.Contains(s.want, "per_") && refused(t, err) != "operation_off rate" {
					t.Errorf("step %d is refused as %q", i, refused(t, err))
				}
			}
		})
	}
}

func TestLimitsOutliveReloads(t *testing.T) {
	limited := func(n int) string { return fmt.Sprintf("%slimits: {per_hour: %d}", basic, n) }
	w := open(t, limited(3))
	judge := func(after time.Duration, want string) {
		t.Helper()
		a := asking()
		a.At = noon.Add(after)
		if got := refused(t, w.Judge(a, ada())); got != want {
			t.Errorf("after %s: judged %q, want %q", after, got, want)
		}
	}
	for i := range 3 {
		judge(time.Duration(i)*time.Minute, "")
	}
	w.write(t, limited(4))
	judge(3*time.Minute, "")
	judge(4*time.Minute, "operation_off rate")
	w.write(t, limited(1))
	judge(time.Hour+2*time.Minute, "operation_off rate") // the last one still counts
	judge(time.Hour+3*time.Minute, "")

	// Counted out of order, under a limit that is lowered then.
	w = open(t, limited(2))
	judge(30*time.Minute, "")
	judge(0, "")
	w.write(t, limited(1))
	judge(89*time.Minute, "operation_off rate")
	judge(90*time.Minute, "")
}

// However requests come, there are never more than the limits say in any such
// time, and no more is remembered than that needs.
func TestLimitsNeverExceeded(t *testing.T) {
	l := limits{PerMinute: 5, PerHour: 60, PerAccountDay: 4, AdminPerHour: 10}
	type through struct {
		at    time.Time
		guid  byte
		admin bool
	}
	var c counts
	var all []through
	random := rand.New(rand.NewPCG(1, 2))
	at := noon
	for i := range 50_000 {
		at = at.Add(time.Duration(random.Int64N(int64(10 * time.Second))))
		a := asking()
		a.At = at
		a.Actor = []reset.ActorKind{reset.Self, reset.Admin}[random.IntN(2)]
		binary.LittleEndian.PutUint64(a.Request[:], uint64(i+1))
		guid := byte(random.IntN(256))
		if c.admit(a, [16]byte{guid}, l) == nil {
			all = append(all, through{at, guid, a.Actor == reset.Admin})
		}
	}
	if len(all) < 4*256 {
		t.Fatalf("only %d were let through", len(all))
	}
	within := func(i int, span time.Duration, concerns func(through) bool) (n int) {
		for j := i; j >= 0 && all[i].at.Sub(all[j].at) < span; j-- {
			if concerns(all[j]) {
				n++
			}
		}
		return n
	}
	for i, last := range all {
		for what, n := range map[string]int{
			"per_minute":      within(i, time.Minute, func(through) bool { return true }) - l.PerMinute,
			"per_hour":        within(i, time.Hour, func(through) bool { return true }) - l.PerHour,
			"per_account_day": within(i, day, func(o through) bool { return o.guid == last.guid }) - l.PerAccountDay,
			"admin_per_hour":  within(i, time.Hour, func(o through) bool { return o.admin }) - l.AdminPerHour,
		} {
			if n > 0 {
				t.Fatalf("number %d is %d above %s", i, n, what)
			}
		}
	}
	if len(c.all) > l.PerHour || len(c.admin) > l.AdminPerHour {
		t.Errorf("remembers %d and %d of an hour", len(c.all), len(c.admin))
	}
	a := asking()
	a.At = at.Add(2 * day)
	if err := c.admit(a, [16]byte{1}, l); err != nil || len(c.accounts) != 1 || len(c.all) != 1 {
		t.Errorf("two days later: %v, remembers %d accounts, %d requests", err, len(c.accounts), len(c.all))
	}
}
