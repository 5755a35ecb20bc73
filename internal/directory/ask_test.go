package directory_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
)

// wrong reads how many wrong passwords dir counts for a user.
func wrong(dir testkit.Directory) func(testing.TB, testkit.User) int {
	return func(t testing.TB, u testkit.User) (n int) {
		t.Helper()
		asAdmin(t, dir, func(conn *ldap.Conn) error {
			res, err := conn.Search(ldap.NewSearchRequest("<GUID="+u.ObjectGUID+">", ldap.ScopeBaseObject,
				ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", []string{"badPwdCount"}, nil))
			if err == nil {
				n, err = strconv.Atoi(res.Entries[0].GetAttributeValue("badPwdCount"))
			}
			return err
		})
		return n
	}
}

// ask finds the user and asks, in one session.
func (b *bench) ask(t *testing.T, password string) (bool, error) {
	t.Helper()
	s, e := b.found(t)
	defer s.End()
	return s.Ask(t.Context(), e, secret.New([]byte(password)))
}

// Whatever is no answer is none. What was met is the one bind of all.
func TestAskAnswers(t *testing.T) {
	t.Parallel()
	refuse := func(data string) fakead.Fault {
		return fakead.Refuse(49, "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data "+data+", v4563\x00")
	}
	b := setup(t, nil, func(c *directory.Config) { c.BindTimeout = 300 * time.Millisecond })
	b.ask(t, b.user.Password) // so that the service account is bound
	for name, tt := range map[string]struct {
		fault fakead.Fault
		right bool
		err   error
	}{
		"wrong":              {refuse("52e"), false, nil},
		"wrong, upper case":  {refuse("52E"), false, nil},
		"hours":              {refuse("530"), true, nil},
		"workstation":        {refuse("531"), true, nil},
		"password expired":   {refuse("532"), true, nil},
		"disabled":           {refuse("533"), true, nil},
		"account expired":    {refuse("701"), true, nil},
		"must change":        {refuse("773"), true, nil},
		"locked":             {refuse("775"), false, reset.ErrUnanswered},
		"no such account":    {refuse("525"), false, reset.ErrUnanswered},
		"restricted":         {refuse("52f"), false, reset.ErrUnanswered},
		"never seen":         {refuse("5"), false, reset.ErrUnanswered},
		"a longer one":       {refuse("52e1"), false, reset.ErrUnanswered},
		"no data":            {fakead.Refuse(49, "80090308: LdapErr"), false, reset.ErrUnanswered},
		"another result":     {fakead.Refuse(53, "80090308: LdapErr, data 773, v"), false, reset.ErrUnanswered},
		"busy":               {fakead.Refuse(51, ""), false, reset.ErrUnanswered},
		"the library's own":  {fakead.Refuse(200, "x, data 773, "), false, reset.ErrUnanswered},
		"cut before":         {fakead.Fault{Skip: true, Reply: fakead.Cut}, false, reset.ErrUnanswered},
		"cut after":          {fakead.Fault{Reply: fakead.Cut}, false, reset.ErrUnanswered},
		"garbage":            {fakead.Fault{Reply: fakead.Garbage}, false, reset.ErrUnanswered},
		"silence":            {fakead.Fault{Reply: fakead.Silence}, false, reset.ErrUnanswered},
		"as it should be":    {fakead.Fault{}, true, nil},
		"echo of a password": {refuse("52e, " + newPassword), false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			password := b.user.Password
			if strings.HasPrefix(name, "echo") {
				password = newPassword
			}
			fault := b.fake.Inject(fakead.Bind, tt.fault)
			right, err := b.ask(t, password)
			if right != tt.right || tt.err == nil && err != nil {
				t.Errorf("got %t, %v, want %t, %v", right, err, tt.right, tt.err)
			}
			if tt.err != nil {
				wantIs(t, err, tt.err)
			}
			<-fault.Done()
			if err != nil && (strings.Contains(err.Error(), "LdapErr") || strings.Contains(err.Error(), password)) {
				t.Errorf("the error has the text or the password: %v", err)
			}
		})
	}
	if log := b.log.String(); strings.Contains(log, b.user.Password) || strings.Contains(log, newPassword) || !strings.Contains(log, "withheld") {
		t.Errorf("the log has a password, or does not withhold one:\n%s", log)
	}
	if err := b.reset(t, newPassword); err != nil {
		t.Errorf("a reset afterwards: %v", err)
	}
	if _, accepted := b.fake.Connections(); accepted != 1+24 {
		t.Errorf("%d connections, want one for the service account and one for each of 24 questions", accepted)
	}
}

// One bind as the account, none as the service account, and a connection that
// is gone at once.
func TestAskOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	s, e := b.found(t)
	service := b.fake.Counts("svc-writeback")
	for n, password := range []string{"wrong", "wrong", b.user.Password} {
		right, err := s.Ask(t.Context(), e, secret.New([]byte(password)))
		if right != (n == 2) || err != nil {
			t.Errorf("got %t, %v", right, err)
		}
	}
	if c := b.fake.Counts(b.user.SAMAccountName); c != (fakead.Counts{Binds: 1, BadBinds: 2}) {
		t.Errorf("the account saw %+v", c)
	}
	if c := b.fake.Counts("svc-writeback"); c != service {
		t.Errorf("the service account saw %+v, before %+v", c, service)
	}
	if err := s.SetPassword(t.Context(), e, secret.New([]byte(newPassword))); err != nil {
		t.Errorf("the same session afterwards: %v", err)
	}
}

// Nothing was sent.
func TestAskUnavailable(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		op    fakead.Op
		fault fakead.Fault
	}{
		"no connection":        {fakead.Connect, fakead.Fault{Reply: fakead.Cut}},
		"no TLS":               {fakead.Connect, fakead.Fault{Reply: fakead.Garbage}},
		"TLS hangs":            {fakead.Connect, fakead.Fault{Reply: fakead.Silence}},
		"rootDSE without name": {fakead.Search, fakead.Fault{Skip: true}},
		"rootDSE cut":          {fakead.Search, fakead.Fault{Reply: fakead.Cut}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, func(c *directory.Config) { c.DialTimeout = 300 * time.Millisecond })
			s, e := b.found(t)
			b.fake.Inject(fault.op, fault.fault)
			_, err := s.Ask(t.Context(), e, secret.New([]byte("wrong")))
			wantIs(t, err, reset.ErrDirectoryUnavailable)
			if c := b.fake.Counts(b.user.SAMAccountName); c.BadBinds != 0 {
				t.Error("a bind was sent")
			}
			if right, err := s.Ask(t.Context(), e, secret.New([]byte(b.user.Password))); !right || err != nil {
				t.Errorf("asked again: %t, %v", right, err)
			}
		})
	}
	for name, tt := range map[string]struct {
		fault fakead.Fault
		want  error
	}{
		"state cut":  {fakead.Fault{Reply: fakead.Cut}, reset.ErrDirectoryUnavailable},
		"state busy": {fakead.Refuse(51, ""), reset.ErrDirectoryUnavailable},
		"state gone": {fakead.Refuse(32, "0000208D: NameErr"), reset.ErrNotAsked},
		"no state":   {fakead.Fault{Skip: true}, reset.ErrNotAsked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, nil)
			s, e := b.found(t)
			b.fake.Inject(fakead.Search, fakead.Fault{}) // the rootDSE
			b.fake.Inject(fakead.Search, tt.fault)
			_, err := s.Ask(t.Context(), e, secret.New([]byte("wrong")))
			wantIs(t, err, tt.want)
			if c := b.fake.Counts(b.user.SAMAccountName); c.BadBinds != 0 {
				t.Error("a bind was sent")
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		b := setup(t, nil, nil)
		s, e := b.found(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Ask(ctx, e, secret.New([]byte("wrong")))
		wantIs(t, err, reset.ErrDirectoryUnavailable)
		if c := b.fake.Counts(b.user.SAMAccountName); c.BadBinds != 0 {
			t.Error("a bind was sent")
		}
	})
}

// What counts wrong passwords is one domain controller: behind one address
// there may be several.
func TestAskAnotherController(t *testing.T) {
	t.Parallel()
	fake := startFake(t, fakead.Options{})
	other, err := fake.AddDC(fakead.DCOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	dir := fake.Directory()
	dir.URL, _ = inTurn(t, dir.URL, other.Directory().URL)
	s, u := open(t, dir), dir.Users[0]
	e, err := s.Find(t.Context(), account(t, reset.UPN, u.UPN))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Ask(t.Context(), e, secret.New([]byte("wrong")))
	wantIs(t, err, reset.ErrDirectoryUnavailable)
	for _, dc := range []*fakead.Server{fake, other} {
		if c := dc.Counts(u.SAMAccountName); c.BadBinds != 0 {
			t.Errorf("%s was asked", dc.HostName())
		}
	}
}

// A connection that is lost before the bind has sent none.
func TestAskLost(t *testing.T) {
	t.Parallel()
	fake := startFake(t, fakead.Options{})
	dir := fake.Directory()
	url, cut := inTurn(t, dir.URL, dir.URL)
	dir.URL = url
	s, u := open(t, dir), dir.Users[0]
	e, err := s.Find(t.Context(), account(t, reset.UPN, u.UPN))
	if err != nil {
		t.Fatal(err)
	}
	fake.Inject(fakead.Search, fakead.Fault{}) // the rootDSE
	state := fake.Inject(fakead.Search, fakead.Fault{Hold: true})
	asked := make(chan error)
	go func() {
		_, err := s.Ask(t.Context(), e, secret.New([]byte("wrong")))
		asked <- err
	}()
	<-state.Met()
	cut()
	state.Release()
	wantIs(t, <-asked, reset.ErrDirectoryUnavailable)
	if c := fake.Counts(u.SAMAccountName); c.BadBinds != 0 {
		t.Error("a bind was sent")
	}
}

// inTurn returns a URL whose n-th connection leads to the n-th of urls, and a
// function that resets the last one.
func inTurn(t *testing.T, urls ...string) (url string, cut func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	last := make(chan *net.TCPConn, len(urls))
	running.Go(func() {
		for _, url := range urls {
			client, err := l.Accept()
			if err != nil {
				return
			}
			last <- client.(*net.TCPConn)
			server, err := net.Dial("tcp", strings.TrimPrefix(url, "ldaps://"))
			if err != nil {
				client.Close()
				return
			}
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				running.Go(func() {
					io.Copy(pair[0], pair[1])
					pair[0].Close()
				})
			}
		}
	})
	return "ldaps://" + l.Addr().String(), func() {
		for range len(urls) - 1 {
			<-last
		}
		conn := <-last
		conn.SetLinger(0)
		conn.Close()
	}
}

// What was true when the account was found may be otherwise when it is asked.
func TestAskMeanwhile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b *bench, name string) error{
		"locked":    func(b *bench, name string) error { return b.fake.Lock(name) },
		"smartcard": func(b *bench, name string) error { return b.fake.RequireSmartcard(name) },
		"deleted":   func(b *bench, name string) error { return b.fake.Delete(name) },
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, nil, nil)
			s, e := b.found(t)
			if err := change(b, b.user.SAMAccountName); err != nil {
				t.Fatal(err)
			}
			_, err := s.Ask(t.Context(), e, secret.New([]byte(b.user.Password)))
			wantIs(t, err, reset.ErrNotAsked)
			if c := b.fake.Counts(b.user.SAMAccountName); c.Binds+c.BadBinds != 0 {
				t.Error("a bind was sent")
			}
		})
	}
}

// A count that the domain controller does not show is not zero, and is not
// needed where nothing locks.
func TestAskWithoutCount(t *testing.T) {
	t.Parallel()
	for threshold, want := range map[int]error{0: nil, 50: reset.ErrNotAsked} {
		policy := fakead.DefaultPolicy()
		policy.LockoutThreshold = threshold
		b := setupWith(t, fakead.Options{Policy: policy}, &front{change: []string{"badPwdCount", "badPwdCounX"}}, nil)
		if right, err := b.ask(t, b.user.Password); right != (want == nil) || !errors.Is(err, want) {
			t.Errorf("threshold %d: %t, %v, want %v", threshold, right, err, want)
		}
	}
}
