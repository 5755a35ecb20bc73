package directory_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/directory"
	"writeback/internal/reset"
	"writeback/internal/secret"
	"writeback/internal/testkit/fakead"
)

// What a directory finds under MS-ADTS 6.5 and nobody asked for.
func TestLookAlike(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	if _, err := b.fake.NewUser(fakead.UserSpec{SAMAccountName: "jose"}); err != nil {
		t.Fatal(err)
	}
	accented, err := b.fake.NewUser(fakead.UserSpec{SAMAccountName: "rené"})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := b.found(t)
	for _, value := range []string{"josé", "ｊｏｓｅ", "jose\u0301", "rene"} {
		_, err := s.Find(t.Context(), account(t, reset.SAMAccountName, value))
		wantCode(t, err, reset.AccountNotFound)
		if err == nil || !strings.Contains(err.Error(), "another sAMAccountName") {
			t.Errorf("%q: %v; the directory itself must have found it, or this tests nothing", value, err)
		}
		_, err = s.Find(t.Context(), account(t, reset.UPN, value+"@corp.example.com"))
		wantCode(t, err, reset.AccountNotFound)
	}
	for _, value := range []string{"rené", "RENÉ", "JOSE"} {
		if _, err := s.Find(t.Context(), account(t, reset.SAMAccountName, value)); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
	if e, err := s.Find(t.Context(), account(t, reset.UPN, accented.UPN)); err != nil || e.DN != accented.DN {
		t.Errorf("found %q, %v", e.DN, err)
	}
}

func TestModifyFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		fault   fakead.Fault
		applied int
		want    error
	}{
		{"cut before it is applied", fakead.Fault{Skip: true, Reply: fakead.Cut}, 0, reset.ErrUnanswered},
		{"cut after it is applied", fakead.Fault{Reply: fakead.Cut}, 1, reset.ErrUnanswered},
		{"garbage", fakead.Fault{Reply: fakead.Garbage}, 1, reset.ErrUnanswered},
		{"a code of the library's own", fakead.Refuse(200, "00000000: x"), 0, reset.ErrUnanswered},
		{"busy", fakead.Refuse(51, "00002024: SvcErr: busy"), 0, reset.ErrDirectoryUnavailable},
		{"unavailable", fakead.Refuse(52, ""), 0, reset.ErrDirectoryUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t, nil, nil)
			s, e := b.found(t)
			fault := b.fake.Inject(fakead.Modify, tt.fault)
			wantIs(t, s.SetPassword(t.Context(), e, secret.New([]byte(newPassword))), tt.want)
			<-fault.Done()
			if c := b.fake.Counts(b.user.SAMAccountName); c.Modifies != 1 || c.Applied != tt.applied {
				t.Errorf("%d modifies, %d applied, want 1 and %d", c.Modifies, c.Applied, tt.applied)
			}
			s.End()
			if err := b.reset(t, newPassword+"2"); err != nil {
				t.Errorf("the next reset: %v", err)
			}
		})
	}
}

// A directory that hangs gets ModifyTimeout, and less if the caller is in a
// hurry. What it does afterwards does not reach us.
func TestSilence(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]time.Duration{"ModifyTimeout": 0, "context": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nil, nil)
			s, e := b.found(t)
			fault := b.fake.Inject(fakead.Modify, fakead.Fault{Hold: true})
			ctx, want := t.Context(), reset.ModifyTimeout
			if limit > 0 {
				ctx, want = within(t, limit), limit
			}
			start := time.Now()
			wantIs(t, s.SetPassword(ctx, e, secret.New([]byte(newPassword))), reset.ErrUnanswered)
			if took := time.Since(start); took < want || took > want+2*time.Second {
				t.Errorf("it took %s, want %s", took, want)
			}
			if c := b.fake.Counts(b.user.SAMAccountName); c.Applied != 0 {
				t.Error("applied while it was held")
			}
			fault.Release()
			<-fault.Done()
			s.End()
			if err := b.reset(t, newPassword+"2"); err != nil {
				t.Errorf("the next reset: %v", err)
			}
		})
	}
}

func TestSearchFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]fakead.Fault{
		"cut": {Reply: fakead.Cut}, "garbage": {Reply: fakead.Garbage}, "silence": {Reply: fakead.Silence},
		"busy": fakead.Refuse(51, ""), "time limit": fakead.Refuse(3, ""),
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, nil, func(c *directory.Config) { c.SearchTimeout = 300 * time.Millisecond })
			s, e := b.found(t)
			b.fake.Inject(fakead.Search, fault)
			_, err := s.Find(t.Context(), account(t, reset.UPN, b.user.UPN))
			wantIs(t, err, reset.ErrDirectoryUnavailable)
			if fault.Skip {
				return // answered: the connection is as good as before
			}
			// The session is over; nothing can be sent on it.
			wantIs(t, s.SetPassword(t.Context(), e, secret.New([]byte(newPassword))), reset.ErrDirectoryUnavailable)
			if c := b.fake.Counts(b.user.SAMAccountName); c.Modifies != 0 {
				t.Error("a modify was sent")
			}
		})
	}
	t.Run("unknown code", func(t *testing.T) {
		b := setup(t, nil, nil)
		s, _ := b.found(t)
		b.fake.Inject(fakead.Search, fakead.Refuse(80, "000020d6: SysErr"))
		_, err := s.Find(t.Context(), account(t, reset.UPN, b.user.UPN))
		if o := wantCode(t, err, reset.DirectoryError); o.Details.Result != "80 000020D6" {
			t.Errorf("the result is %q", o.Details.Result)
		}
	})
	for _, attribute := range []string{"pwdLastSet", "uSNChanged", "objectGUID"} {
		t.Run(attribute+" missing", func(t *testing.T) {
			f := &front{change: []string{attribute, attribute[:9] + "X"}}
			b := setup(t, f, nil)
			s, err := b.client.Begin(within(t, 10*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			defer s.End()
			_, err = s.Find(t.Context(), account(t, reset.UPN, b.user.UPN))
			wantCode(t, err, reset.DirectoryError)
			if !strings.Contains(err.Error(), attribute) {
				t.Errorf("%v, want %s in it", err, attribute)
			}
		})
	}
}

// Nothing is sent for a caller that has given up.
func TestModifyCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	s, e := b.found(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, s.SetPassword(ctx, e, secret.New([]byte(newPassword))), reset.ErrDirectoryUnavailable)
	if c := b.fake.Counts(b.user.SAMAccountName); c.Modifies != 0 {
		t.Error("a modify was sent")
	}
	if err := s.SetPassword(t.Context(), e, secret.New([]byte(newPassword))); err != nil {
		t.Errorf("the same session afterwards: %v", err)
	}
}

// What a directory writes is in no error, and in the log only at debug level
// and without what was sent.
func TestText(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"control characters": "0000052D: \x1b[31mSvcErr\r\n{\"level\":\"error\"}\x00 canary\u202e",
		"password":           "0000052D: not good: " + newPassword + " canary",
		"password in UTF-16": "0000052D: not good: " + strings.Join(strings.Split(newPassword, ""), "\x00") + "\x00 canary",
		"long":               "0000052D: canary" + strings.Repeat("ü", 10000),
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, nil, nil)
			b.fake.Inject(fakead.Modify, fakead.Refuse(53, text))
			err := b.reset(t, newPassword)
			o := wantCode(t, err, reset.PasswordRefused)
			if strings.Contains(err.Error(), "canary") || slices.ContainsFunc(o.Details.Candidates, func(s string) bool { return strings.Contains(s, "canary") }) {
				t.Errorf("the text is in %v", err)
			}
			log := b.log.String()
			if strings.Contains(log, newPassword) || strings.Contains(log, b.dir.ServicePassword) || len(log) > 5000 {
				t.Errorf("the log has a password or too much:\n%s", log)
			}
			if i := strings.IndexFunc(log, func(r rune) bool { return r < ' ' && r != '\n' || r == '\u202e' }); i >= 0 || strings.Contains(log, `\u00`) {
				t.Errorf("the log has a control character:\n%s", log)
			}
			for line := range strings.Lines(log) {
				if strings.Contains(line, "canary") && !strings.Contains(line, `"level":"debug"`) {
					t.Errorf("the text is logged as %s", line)
				}
			}
		})
	}
}

func TestUnknownAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t, nil, nil)
	for _, tt := range []struct {
		code int
		text string
		want string
	}{
		{99, "0000ABCD: SvcErr", "99 0000ABCD"}, {99, "no code", "99"}, {12, "00002040: SvcErr", "12 00002040"},
		{53, "0000001F: SvcErr", "53 0000001F"}, {4096, "", "4096"},
	} {
		b.fake.Inject(fakead.Modify, fakead.Refuse(tt.code, tt.text))
		o := wantCode(t, b.reset(t, newPassword), reset.DirectoryError)
		if o.Details.Result != tt.want {
			t.Errorf("%d %q: the result is %q, want %q", tt.code, tt.text, o.Details.Result, tt.want)
		}
	}
	if _, accepted := b.fake.Connections(); accepted != 1 {
		t.Errorf("%d connections, want 1: an answer is no reason to leave", accepted)
	}
}
