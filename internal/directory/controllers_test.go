package directory_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/fakead"
)

// several is a domain with more than one domain controller, dc1 being the PDC
// emulator, and a client that is told of them in this order.
type several struct {
	*bench
	dcs []*fakead.Server
}

func setupSeveral(t *testing.T, n int, change func(s *several, c *directory.Config)) *several {
	t.Helper()
	fake := startFake(t, fakead.Options{})
	s := &several{&bench{fake: fake, dir: fake.Directory(), log: &syncBuffer{}}, []*fakead.Server{fake}}
	for len(s.dcs) < n {
		s.add(t, fakead.DCOptions{})
	}
	s.user = s.dir.Users[0]
	cfg := config(t, s.dir)
	cfg.URLs = s.urls()
	if change != nil {
		change(s, &cfg)
	}
	var err error
	if s.client, err = directory.New(cfg, zerolog.New(s.log)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	return s
}

func (s *several) add(t *testing.T, opts fakead.DCOptions) *fakead.Server {
	t.Helper()
	dc, err := s.fake.AddDC(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dc.Close() })
	s.dcs = append(s.dcs, dc)
	return dc
}

func (s *several) urls() (urls []string) {
	for _, dc := range s.dcs {
		urls = append(urls, dc.Directory().URL)
	}
	return urls
}

// want has one reset done and checks on which domain controller.
func (s *several) want(t *testing.T, dc string) {
	t.Helper()
	session, e := s.found(t)
	defer session.End()
	if err := session.SetPassword(t.Context(), e, secret.New([]byte(newPassword+time.Now().String()))); err != nil {
		t.Error(err)
	}
	if e.Witness.DC != dc+".corp.example.com" {
		t.Errorf("%s was used, want %s; the log:\n%s", e.Witness.DC, dc, s.log)
	}
}

// logged returns a channel that is closed when a line with this text is logged.
func (b *syncBuffer) logged(text string) <-chan struct{} {
	done := make(chan struct{})
	b.onLine(text, sync.OnceFunc(func() { close(done) }))
	return done
}

func (s *several) wantLogged(t *testing.T, times int, text string) {
	t.Helper()
	if n := strings.Count(s.log.String(), text); n != times {
		t.Errorf("%q is logged %d times, want %d:\n%s", text, n, times, s.log)
	}
}

func await(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("still waiting for: " + what)
	}
}

func accepted(dc *fakead.Server) int {
	_, n := dc.Connections()
	return n
}

// Who the PDC emulator is shows on the first connection, but not which of the
// others it is if they are known by address: each is asked once.
func TestPDCPreferred(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 4, nil)
	s.dcs[2].MakePDC()
	for _, dc := range []string{"dc1", "dc2", "dc3", "dc3", "dc3"} {
		s.want(t, dc)
	}
	if n := accepted(s.dcs[3]); n != 0 {
		t.Errorf("%d connections to a domain controller that nobody needs", n)
	}
}

// The domain controller in use is the one that the next request goes to: none
// before the first connection, nor while all are left alone.
func TestUsing(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	want := func(dc string) {
		t.Helper()
		if got := s.client.Using(); got != dc {
			t.Errorf("%q is in use, want %q", got, dc)
		}
	}
	want("")
	s.want(t, "dc1")
	want("dc1.corp.example.com")
	s.client.Pass(time.Minute) // the connection is tested before it is used
	s.fake.Close()
	s.want(t, "dc2")
	want("dc2.corp.example.com")
	s.dcs[1].Close()
	s.client.Pass(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if session, err := s.client.Begin(ctx); err == nil {
		session.End()
		t.Error("there is a session without a domain controller")
	}
	want("")
}

// A role that moves while there is always something to do is followed within a
// minute, on the connections that there are.
func TestPDCMoves(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 2, nil)
	s.want(t, "dc1")
	s.dcs[1].MakePDC()
	s.want(t, "dc1")
	s.client.Pass(time.Minute)
	s.want(t, "dc1") // this one sees it
	s.want(t, "dc2")
	s.fake.MakePDC()
	s.client.Pass(time.Minute)
	s.want(t, "dc2")
	s.want(t, "dc1")
	if accepted(s.dcs[0]) != 1 || accepted(s.dcs[1]) != 1 {
		t.Errorf("%d and %d connections, want one each", accepted(s.dcs[0]), accepted(s.dcs[1]))
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 1, func(s *several, c *directory.Config) {
		s.add(t, fakead.DCOptions{ReadOnly: true})
		c.URLs = []string{s.dcs[1].Directory().URL, s.dcs[0].Directory().URL}
	})
	for range 3 {
		s.want(t, "dc1")
		s.client.Pass(time.Hour)
	}
	s.fake.Close()
	_, err := s.client.Begin(within(t, 100*time.Millisecond))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	err = s.client.Check(t.Context())
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	if !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want the reasons of both", err)
	}
	if n := accepted(s.dcs[1]); n != 1 {
		t.Errorf("%d connections to the read-only one, want one", n)
	}
	if c := s.dcs[1].Counts(s.user.SAMAccountName); c.Modifies != 0 {
		t.Errorf("%d modifies on the read-only one", c.Modifies)
	}
	s.wantLogged(t, 1, "domain controller is read-only; it is not used")

	alone := setupSeveral(t, 1, func(s *several, c *directory.Config) {
		c.URLs = []string{s.add(t, fakead.DCOptions{ReadOnly: true}).Directory().URL}
	})
	_, err = alone.client.Begin(within(t, 10*time.Second))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	if !strings.Contains(err.Error(), "read-only") {
		t.Errorf("%v, want the reason", err)
	}
}

// A password that one has refused would be refused by the others too, and
// every refusal counts towards the lockout of the service account.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 3, func(_ *several, c *directory.Config) {
		c.ReadSecret = func(string) (secret.Value, error) { return secret.New([]byte("wrong")), nil }
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := s.client.Begin(within(t, 10*time.Second))
			wantIs(t, err, reset.ErrDirectoryUnavailable)
		})
	}
	all.Wait()
	wantIs(t, s.client.Check(t.Context()), reset.ErrDirectoryUnavailable)
	_, err := s.client.BeginAt(within(t, 10*time.Second), "dc3.corp.example.com")
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	s.wantBadBinds(t, 1)
	s.wantLogged(t, 0, leftAlone)
}

// Neither is it tried again and again while nobody answers.
func TestRefusedUnheard(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 3, func(_ *several, c *directory.Config) {
		c.BindTimeout = 200 * time.Millisecond
		c.ReadSecret = func(string) (secret.Value, error) { return secret.New([]byte("wrong")), nil }
	})
	for i, reply := range []fakead.Reply{fakead.Silence, fakead.Cut, fakead.Garbage} {
		for range 4 {
			s.dcs[i].Inject(fakead.Bind, fakead.Fault{Reply: reply})
		}
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			_, err := s.client.Begin(within(t, 10*time.Second))
			wantIs(t, err, reset.ErrDirectoryUnavailable)
			if !strings.Contains(err.Error(), "no domain controller answered whether") {
				t.Errorf("%v, want the reason", err)
			}
		})
	}
	all.Wait()
	wantIs(t, s.client.Check(t.Context()), reset.ErrDirectoryUnavailable)
	s.wantBadBinds(t, 2)
}

// Who was let in as long as the password was proven does not try it once it is
// refused, and adds nothing to a doubt.
func TestRefusedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, heard := range []bool{true, false} {
		s := setupSeveral(t, 2, func(_ *several, c *directory.Config) { c.BindTimeout = 300 * time.Millisecond })
		session, _ := s.found(t)
		defer session.End()
		begun := make(chan error, 1)
		hold := s.fake.Inject(fakead.Connect, fakead.Fault{Hold: true})
		go func() {
			session, err := s.client.Begin(within(t, 5*time.Second))
			if err == nil {
				session.End()
			}
			begun <- err
		}()
		await(t, "a connection", hold.Met())
		if heard {
			if err := s.fake.SetPassword("svc-writeback", "another-Passw0rd"); err != nil {
				t.Fatal(err)
			}
		} else {
			s.dcs[1].Inject(fakead.Connect, fakead.Fault{Reply: fakead.Cut})
			for range 2 { // this one's and that of the other
				s.fake.Inject(fakead.Bind, fakead.Fault{Skip: true, Reply: fakead.Silence})
			}
		}
		_, err := s.client.Begin(within(t, 400*time.Millisecond))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		hold.Release()
		if err := <-begun; (err == nil) == heard {
			t.Errorf("refused: %t, and whoever came before got %v", heard, err)
		}
		if heard {
			s.wantBadBinds(t, 1)
		}
	}
}

func (s *several) wantBadBinds(t *testing.T, want int) {
	t.Helper()
	bad := 0
	for _, dc := range s.dcs {
		bad += dc.Counts("svc-writeback").BadBinds
	}
	if bad != want {
		t.Errorf("the service account was refused %d times, want %d", bad, want)
	}
}

func TestBeginAt(t *testing.T) {
	t.Parallel()
	s := setupSeveral(t, 3, nil)
	at := func(name string) error {
		session, err := s.client.BeginAt(within(t, time.Second), name)
		if err != nil {
			return err
		}
		defer session.End()
		e, err := session.Find(t.Context(), account(t, reset.UPN, s.user.UPN))
		if err != nil {
			return err
		}
		if !strings.EqualFold(e.Witness.DC, name) {
			t.Errorf("asked for %s, got %s", name, e.Witness.DC)
		}
		return nil
	}
	// Nobody has been there before, and there again.
	for _, name := range []string{"dc3.corp.example.com", "dc2.corp.example.com", "DC3.corp.example.com"} {
		if err := at(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, dc := range s.dcs {
		if accepted(dc) != 1 {
			t.Errorf("%d connections to %s, want 1", accepted(dc), dc.HostName())
		}
	}
	for _, name := range []string{"dc4.corp.example.com", "dc3", ""} {
		wantIs(t, at(name), reset.ErrDirectoryUnavailable)
	}
	s.dcs[2].Close()
	wantIs(t, at("dc3.corp.example.com"), reset.ErrDirectoryUnavailable) // on the connection that there was
	ctx := within(t, time.Minute)
	_, err := s.client.BeginAt(ctx, "dc3.corp.example.com")
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	if ctx.Err() != nil {
		t.Error("it was waited for, on a connection that others could use")
	}
	if err := at("dc2.corp.example.com"); err != nil {
		t.Error(err)
	}
	if err := s.dcs[2].Restart(); err != nil {
		t.Fatal(err)
	}
	s.client.Pass(time.Hour)
	if err := at("dc3.corp.example.com"); err != nil {
		t.Errorf("it is back: %v", err)
	}
}
