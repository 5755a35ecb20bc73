package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"writeback/internal/testkit/fakead"
)

// TestBadInput sends names that are no names, and has the domain controller
// answer what it should not. Each request ends in a code, which a consumer logs
// unless the publisher refused it, and nothing of what the domain controller
// wrote is in what the cloud says or logs.
func TestBadInput(t *testing.T) {
	l := startLab(t, "fake")
	e, u := l.endpoints(t), l.Directory.Users[0]
	// With a line end, an escape, a character that turns the direction and a
	// quote that ends a value of the log.
	const text = "c4nary-text\n\x1b[2J\u202e\",\"level\":\"error"

	name := func(kind, value string) string {
		b, err := json.Marshal(map[string]string{kind: value})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	upn := func(local string) string { return name("upn", local+"@corp.example.com") }
	tests := []struct {
		name    string
		account string
		op      fakead.Op
		fault   *fakead.Fault
		status  int
		code    string
		want    string // in the answer
	}{
		{name: "a filter that matches all", account: upn("*"), status: 400, code: "invalid", want: `"account.upn"`},
		{name: "a filter that ends the term", account: upn("x)(|(objectClass=*)"), status: 400, code: "invalid", want: `"account.upn"`},
		{name: "an escape of a filter", account: upn(`\2a`), status: 400, code: "invalid", want: `"account.upn"`},
		{name: "a distinguished name", account: upn(`CN=a,OU=b+c="d";#<e>`), status: 404, code: "account_not_found"},
		{name: "a short name that matches all", account: name("sam_account_name", "*"), status: 400, code: "invalid", want: `"account.sam_account_name"`},
		{name: "from right to left", account: upn("\u202e" + u.SAMAccountName), status: 404, code: "account_not_found"},
		{name: "of zero width", account: upn(u.SAMAccountName + "\u200b"), status: 404, code: "account_not_found"},
		{name: "with an accent", account: upn(strings.Replace(u.SAMAccountName, "u", "ú", 1)), status: 404, code: "account_not_found"},
		{name: "NUL", account: upn(u.SAMAccountName + "\x00"), status: 400, code: "invalid", want: `"account.upn"`},
		{name: "a line end", account: upn(u.SAMAccountName + "\n"), status: 400, code: "invalid", want: `"account.upn"`},
		{name: "a lone surrogate", account: `{"upn":"ada\ud800@corp.example.com"}`, status: 400, code: "invalid", want: `"account.upn"`},
		{name: "1025 bytes", account: name("upn", strings.Repeat("a", 1025)), status: 400, code: "invalid", want: `"account.upn"`},
		{name: "1 MiB", account: name("upn", strings.Repeat("a", 1<<20)), status: 413, code: "too_large"},

		{name: "a result that nobody knows", op: fakead.Modify, fault: &fakead.Fault{Skip: true, Code: 4096, Text: text}, status: 502, code: "directory_error", want: `"result":"4096"`},
		{name: "a code that nobody knows", op: fakead.Modify, fault: &fakead.Fault{Skip: true, Code: 80, Text: "0000ABCD: " + text}, status: 502, code: "directory_error", want: `"result":"80 0000ABCD"`},
		{name: "a refusal with a story", op: fakead.Modify, fault: &fakead.Fault{Skip: true, Code: 53, Text: "0000052D: " + text}, status: 422, code: "password_refused"},
		{name: "a referral", op: fakead.Modify, fault: &fakead.Fault{Skip: true, Code: 10, Text: "0000202B: " + text, Referral: []string{"ldap://c4nary-text/"}}, status: 502, code: "directory_error", want: `"result":"10 0000202B"`},
		{name: "a search, referred", op: fakead.Search, fault: &fakead.Fault{Skip: true, Code: 10, Text: "0000202B: " + text, Referral: []string{"ldap://c4nary-text/"}}, status: 502, code: "directory_error", want: `"result":"10 0000202B"`},
		{name: "a search, with a result that nobody knows", op: fakead.Search, fault: &fakead.Fault{Skip: true, Code: 99, Text: text}, status: 502, code: "directory_error", want: `"result":"99"`},
		{name: "a search, answered with garbage", op: fakead.Search, fault: &fakead.Fault{Reply: fakead.Garbage}, status: 200, code: "applied"},
		{name: "a search, never answered", op: fakead.Search, fault: &fakead.Fault{Reply: fakead.Silence}, status: 200, code: "applied"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			account := tt.account
			if tt.fault != nil {
				account = name("upn", u.UPN)
				l.fake.Inject(tt.op, *tt.fault)
			}
			body := fmt.Sprintf(`{"account":%s,"password":"Granite-Ladder-%d"}`, account, i)
			r, err := e.do(t.Context(), "POST", "/v1/resets", strings.NewReader(body), "Prefer: wait=60")
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != tt.status || r.Code != tt.code || !strings.Contains(r.Body, tt.want) {
				t.Errorf("answered %d %s, want %d %s with %q:\n%.500s", r.Status, r.Code, tt.status, tt.code, tt.want, r.Body)
			}
			if strings.Contains(r.Body, "c4nary") {
				t.Errorf("the domain controller's text is in the answer:\n%s", r.Body)
			}
			if r.ID == "" {
				return // refused by the publisher
			}
			if line := settled(t, l, r.ID); !strings.Contains(line, `"code":"`+tt.code+`"`) {
				t.Errorf("logged is %q", line)
			}
		})
	}
	for log, may := range map[string]bool{"publisher": false, "nats": false, "consumer1": true, "consumer2": true} {
		b, err := os.ReadFile(l.path("logs", log+".log"))
		if err != nil {
			t.Fatal(err)
		}
		if !may && strings.Contains(string(b), "c4nary") {
			t.Errorf("the domain controller's text is in the log of %s", log)
		}
		for line := range strings.Lines(string(b)) {
			if log != "nats" && !json.Valid([]byte(line)) {
				t.Errorf("the log of %s has a line that is none: %q", log, line)
			}
		}
	}
}

// settled returns the consumers' line about the end of a request.
func settled(t *testing.T, l *Lab, id string) (line string) {
	t.Helper()
	await(t, "the request is logged", func() error {
		for i := range l.opts.Consumers {
			b, err := os.ReadFile(l.path("logs", consumerName(i)+".log"))
			if err != nil {
				return err
			}
			for s := range strings.Lines(string(b)) {
				if strings.Contains(s, id) && strings.Contains(s, `"request settled"`) {
					line = s
					return nil
				}
			}
		}
		return fmt.Errorf("no line about %s", id)
	})
	return line
}
