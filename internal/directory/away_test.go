package directory_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/fakead"
)

const leftAlone = "domain controller is left alone"

func TestLeftAlone(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	s.want(t, "dc1")
	s.client.Pass(time.Minute) // the connection is tested before it is used
	s.fake.Close()
	s.want(t, "dc2")
	if err := s.client.Check(t.Context()); err != nil {
		t.Errorf("one of two can be used: %v", err)
	}
	if err := s.fake.Restart(); err != nil {
		t.Fatal(err)
	}
	s.client.Pass(-time.Hour)
	for range 3 {
		s.want(t, "dc2")
	}
	if n := accepted(s.fake); n != 1 {
		t.Errorf("%d connections to what is to be left alone, want the first only", n)
	}
	s.wantLogged(t, 1, leftAlone)

	// The request that comes after the pause does not wait for it.
	hold := s.fake.Inject(fakead.Bind, fakead.Fault{Hold: true})
	back := s.log.logged("directory connected")
	s.client.Pass(2 * time.Hour)
	s.want(t, "dc2")
	await(t, "an attempt beside requests", hold.Met())
	for range 4 {
		s.want(t, "dc2")
	}
	hold.Release()
	await(t, "dc1 to be back", back)
	s.want(t, "dc1")
	if n := accepted(s.fake); n > 3 {
		t.Errorf("%d connections in all: it was tried more than once at a time", n)
	}
}

// What goes wrong in a session counts as well: the next one is elsewhere.
func TestLeftAloneAfterSession(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		op    fakead.Op
		fault fakead.Fault
		stay  bool
	}{
		"search cut":        {op: fakead.Search, fault: fakead.Fault{Reply: fakead.Cut}},
		"search unanswered": {op: fakead.Search, fault: fakead.Fault{Reply: fakead.Silence}},
		"modify cut":        {op: fakead.Modify, fault: fakead.Fault{Skip: true, Reply: fakead.Cut}},
		"modify refused":    {op: fakead.Modify, fault: fakead.Refuse(53, "0000052D: "), stay: true},
		"search referred":   {op: fakead.Search, fault: fakead.Refer("ldap://127.0.0.1:1/"), stay: true},
		"modify referred":   {op: fakead.Modify, fault: fakead.Refer("ldap://127.0.0.1:1/"), stay: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setupSeveral(t, 2, func(_ *several, c *directory.Config) { c.SearchTimeout = 300 * time.Millisecond })
			s.want(t, "dc1")
			session, e := s.found(t)
			fault := s.fake.Inject(tt.op, tt.fault)
			if tt.op == fakead.Search {
				_, err := session.Find(t.Context(), account(t, reset.UPN, s.user.UPN))
				if err == nil {
					t.Error("found")
				}
			} else if session.SetPassword(t.Context(), e, secret.New([]byte(newPassword))) == nil {
				t.Error("applied")
			}
			await(t, "the fault", fault.Done())
			session.End()
			if tt.stay {
				s.want(t, "dc1")
				s.wantLogged(t, 0, leftAlone)
				return
			}
			s.want(t, "dc2")
			s.wantLogged(t, 1, leftAlone)
		})
	}
}

// A domain controller that was given no time is not to blame; one that used up
// all of a fair time is.
func TestHurriedCaller(t *testing.T) {
	t.Parallel()
	for limit, left := range map[time.Duration]int{100 * time.Millisecond: 0, 2200 * time.Millisecond: 1} {
		s := setupSeveral(t, 2, nil)
		session, _ := s.found(t)
		s.fake.Inject(fakead.Search, fakead.Fault{Reply: fakead.Silence})
		_, err := session.Find(within(t, limit), account(t, reset.UPN, s.user.UPN))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		session.End()
		s.want(t, []string{"dc1", "dc2"}[left])
		s.wantLogged(t, left, leftAlone)
	}
}

// The cut of many connections at once is one failure.
func TestLeftAloneOnce(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	var sessions []*directory.Session
	for range 4 {
		session, _ := s.found(t)
		sessions = append(sessions, session)
	}
	s.fake.Close()
	for _, session := range sessions {
		_, err := session.Find(t.Context(), account(t, reset.UPN, s.user.UPN))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
	}
	for _, session := range sessions {
		session.End()
	}
	s.wantLogged(t, 1, leftAlone)
}

// One that lets us in and then does nothing is left alone each time.
func TestLeftAloneAgain(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 1, nil)
	for n := 1; n <= 3; n++ {
		session, err := s.client.Begin(within(t, 10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		s.fake.Inject(fakead.Search, fakead.Fault{Reply: fakead.Cut})
		_, err = session.Find(t.Context(), account(t, reset.UPN, s.user.UPN))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		session.End()
		s.wantLogged(t, n, leftAlone)
	}
}

func TestAllAway(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	s.want(t, "dc1")
	s.client.Pass(time.Minute)
	for _, dc := range s.dcs {
		dc.Close()
	}
	_, err := s.client.Begin(within(t, 100*time.Millisecond))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	check := s.client.Check(t.Context())
	wantIs(t, check, reset.ErrDirectoryUnavailable)
	for _, url := range s.urls() {
		for _, err := range []error{err, check} {
			if !strings.Contains(err.Error(), url+": connecting: ") {
				t.Errorf("%v, want why %s cannot be used", err, url)
			}
		}
	}
	begun := make(chan error)
	go func() {
		session, err := s.client.Begin(within(t, 10*time.Second))
		if err == nil {
			session.End()
		}
		begun <- err
	}()
	if err := s.dcs[1].Restart(); err != nil {
		t.Fatal(err)
	}
	if err := <-begun; err != nil {
		t.Errorf("one of them is back: %v", err)
	}
	s.want(t, "dc2")
}

// hole accepts connections and never says anything.
func hole(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return "ldaps://" + l.Addr().String()
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 1, func(s *several, c *directory.Config) { c.URLs = append([]string{hole(t)}, s.urls()...) })
	begin := func() time.Duration {
		start := time.Now()
		session, err := s.client.Begin(within(t, 5*time.Second))
		if err != nil {
			t.Error(err)
			return 0
		}
		session.End()
		return time.Since(start)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if took := begin(); took > 4*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	all.Wait()
	s.wantLogged(t, 1, leftAlone)
	for range 8 {
		s.client.Pass(2 * time.Minute) // now it is tried beside the request
		if took := begin(); took > time.Second {
			t.Errorf("after it was found out it still took %s", took)
		}
	}
}

// Whoever asks /readyz has two seconds. One silent domain controller must not
// take all of them, and two have a reason each.
func TestCheckInTime(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 1, func(s *several, c *directory.Config) { c.URLs = append([]string{hole(t)}, s.urls()...) })
	if err := s.client.Check(within(t, 2*time.Second)); err != nil {
		t.Errorf("one of two can be used: %v", err)
	}
	var holes []string
	s = setupSeveral(t, 1, func(_ *several, c *directory.Config) {
		holes = []string{hole(t), hole(t)}
		c.URLs = holes
	})
	err := s.client.Check(within(t, 2*time.Second))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	for _, url := range holes {
		if !strings.Contains(err.Error(), url+": starting TLS: no connection in ") {
			t.Errorf("%v, want why %s cannot be used", err, url)
		}
	}
}

func TestSilentBind(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	s.fake.Inject(fakead.Bind, fakead.Fault{Reply: fakead.Silence})
	s.want(t, "dc2")
	s.wantLogged(t, 1, "no connection in 2s")
}

// hangs makes a domain controller take every bind and answer none.
func hangs(dc *fakead.Server) {
	for range 32 {
		dc.Inject(fakead.Bind, fakead.Fault{Skip: true, Reply: fakead.Silence})
	}
}

// Those that wait for a password to be proven are not where it hangs, neither
// is it taken for refused because many have met the same silence.
func TestSilentBindForMany(t *testing.T) {
	t.Parallel()
	for _, proven := range []bool{false, true} {
		s := setupSeveral(t, 2, nil)
		if proven {
			s.want(t, "dc1")
			session, _ := s.found(t) // the connection is not there for others
			defer session.End()
		}
		hangs(s.fake)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				session, err := s.client.Begin(within(t, 5*time.Second))
				if err != nil {
					t.Errorf("proven %t: %v", proven, err)
					return
				}
				session.End()
			})
		}
		all.Wait()
		s.want(t, "dc2")
		s.wantLogged(t, 1, leftAlone)
	}
}

// One that hangs whenever it is tried is in nobody's way.
func TestSilentBindBeside(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	s.want(t, "dc1")
	session, _ := s.found(t)
	s.fake.Close()
	_, err := session.Find(t.Context(), account(t, reset.UPN, s.user.UPN))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	session.End()
	s.want(t, "dc2")
	if err := s.fake.Restart(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		left := s.log.logged(leftAlone)
		hang := s.fake.Inject(fakead.Bind, fakead.Fault{Skip: true, Reply: fakead.Silence})
		s.client.Pass(2 * time.Hour)
		s.wantUntil(t, "dc2", "an attempt beside requests", hang.Met())
		var sessions []*directory.Session
		for range 4 { // all on connections of their own
			session, err := s.client.Begin(within(t, time.Second))
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, session)
		}
		if err := s.client.Check(within(t, time.Second)); err != nil {
			t.Errorf("while one hangs: %v", err)
		}
		for _, session := range sessions {
			session.End()
		}
		await(t, "the end of the attempt", left)
		// Now nobody has proven the password since.
		s.want(t, "dc2")
	}
	if err := s.client.Check(within(t, time.Second)); err != nil {
		t.Errorf("one of two can be used: %v", err)
	}
	s.client.Pass(2 * time.Hour)
	back := s.log.logged(`"pdc":true`)
	s.want(t, "dc2")
	await(t, "dc1 to be back", back)
	s.want(t, "dc1")
}

// wantUntil has resets done on one domain controller until something happens.
func (s *several) wantUntil(t *testing.T, dc, what string, done <-chan struct{}) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s.want(t, dc)
		select {
		case <-done:
			return
		case <-deadline:
			t.Fatal("still waiting for: " + what)
		default:
		}
	}
}

// Domain controllers go, come back and hand the role on while there is always
// something to do. What is in hand then may fail; what begins later does not,
// and the PDC emulator is found again.
func TestSteadyStream(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	stop, done := make(chan struct{}), make(chan string, 64)
	var all sync.WaitGroup
	var mu sync.Mutex
	lost := 0
	for i := range 4 {
		user := account(t, reset.UPN, s.dir.Users[i].UPN)
		all.Go(func() {
			for n := 0; ; n++ {
				dc, err := func() (string, error) {
					session, err := s.client.Begin(within(t, 5*time.Second))
					if err != nil {
						t.Errorf("no domain controller: %v", err)
						return "", err
					}
					defer session.End()
					e, err := session.Find(t.Context(), user)
					if err != nil {
						return "", err
					}
					return e.Witness.DC, session.SetPassword(t.Context(), e, secret.New(fmt.Appendf(nil, "%s-%d", newPassword, n)))
				}()
				if err != nil {
					mu.Lock()
					lost++
					mu.Unlock()
				}
				select {
				case done <- dc:
				case <-stop:
					return
				}
			}
		})
	}
	// until waits for resets on this domain controller only.
	until := func(dc string) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for in := 0; in < 20; {
			select {
			case used := <-done:
				if in++; used != dc+".corp.example.com" {
					in = 0
				}
			case <-deadline:
				t.Errorf("%s is still not used; the log:\n%s", dc, s.log)
				return
			}
		}
	}
	until("dc1")
	s.fake.Close()
	until("dc2")
	if err := s.fake.Restart(); err != nil {
		t.Fatal(err)
	}
	s.client.Pass(2 * time.Minute)
	until("dc1")
	s.dcs[1].MakePDC()
	s.client.Pass(2 * time.Minute)
	until("dc2")
	s.dcs[1].Close()
	until("dc1")
	close(stop)
	all.Wait()
	// One each of the four, at each of the two ends.
	if lost > 8 {
		t.Errorf("%d resets were lost, want 8 at most", lost)
	}
}
