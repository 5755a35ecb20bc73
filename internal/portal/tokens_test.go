package portal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"writeback/internal/reset"
)

func TestNewToken(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	good := Grant{Tenant: "corp", Source: "desk", Operations: []reset.Operation{reset.Reset},
		Names: []reset.NameKind{reset.ImmutableID}, NotAfter: now.Add(MaxTokenAge)}
	text, e, err := NewToken(good, now)
	if err != nil {
		t.Fatal(err)
	}
	text.Reveal(func(b []byte) error {
		if !regexp.MustCompile(`^wbk_[A-Za-z0-9_-]{43}$`).Match(b) {
			t.Errorf("got token of %d bytes", len(b))
		}
		if e.Hash != sha256.Sum256(b) {
			t.Error("the entry has another hash")
		}
		return nil
	})
	if e.Rate != DefaultRate {
		t.Errorf("got a rate of %d, want the default", e.Rate)
	}
	if len(e.ActorKinds) != 1 || e.ActorKinds[0] != reset.Admin {
		t.Errorf("got actor kinds %v, want admin alone", e.ActorKinds)
	}

	tests := []struct {
		name string
		edit func(*Grant)
	}{
		{"tenant with a dot", func(g *Grant) { g.Tenant = "a.b" }},
		{"no source", func(g *Grant) { g.Source = "" }},
		{"source with a line break", func(g *Grant) { g.Source = "a\nb" }},
		{"no operations", func(g *Grant) { g.Operations = nil }},
		{"no names", func(g *Grant) { g.Names = nil }},
		{"no end", func(g *Grant) { g.NotAfter = time.Time{} }},
		{"ended", func(g *Grant) { g.NotAfter = now }},
		{"more than the greatest rate", func(g *Grant) { g.Rate = MaxRate + 1 }},
		{"a rate below zero", func(g *Grant) { g.Rate = -1 }},
		{"too many addresses", func(g *Grant) { g.Addresses = slices.Repeat(prefixes(t, "192.0.2.0/24"), maxPrefixes+1) }},
		{"ends too late", func(g *Grant) { g.NotAfter = now.Add(MaxTokenAge + time.Second) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := good
			tt.edit(&g)
			if _, _, err := NewToken(g, now); err == nil {
				t.Error("the token was made")
			}
		})
	}
}

func TestTokensFile(t *testing.T) {
	b := setup(t)
	b.add(t, Grant{Tenant: "other", Names: []reset.NameKind{reset.SID}, Rate: 7, Addresses: prefixes(t, "192.0.2.0/24", "::1/128")})
	entries, err := ReadTokens(b.file)
	if err != nil || len(entries) != 2 || entries[1].Tenant != "other" || entries[1].Source != "help desk" ||
		len(entries[1].Operations) != 4 || len(entries[1].Names) != 1 || entries[1].Names[0] != reset.SID ||
		entries[1].Rate != 7 || fmt.Sprint(entries[1].Addresses) != "[192.0.2.0/24 ::1/128]" {
		t.Fatalf("got %+v, %v", entries, err)
	}
	if info, err := os.Stat(b.file); err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	before, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := RemoveToken(b.file, "00000000"); err == nil {
		t.Error("a token that is not there was removed")
	}
	if err := RemoveToken(b.file, entries[0].ID); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, second, _ := bytes.Cut(before, []byte("\n")); !bytes.Equal(second, after) {
		t.Errorf("the other entry changed from %s to %s", second, after)
	}
	if files, _ := os.ReadDir(filepath.Dir(b.file)); len(files) != 1 {
		t.Errorf("left over: %v", files)
	}
}

func TestTokensFileRefused(t *testing.T) {
	b := setup(t)
	line, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	good := string(line)
	edit := func(pattern, by string) string {
		s := regexp.MustCompile(pattern).ReplaceAllString(good, by)
		if s == good {
			t.Fatalf("%s does not occur in %s", pattern, good)
		}
		return s
	}
	tests := []struct{ name, data, want string }{
		{"not JSON", "hunter2\n", "line 1: document is not valid JSON"},
		{"an empty line", good + "\n", "line 2: document is not valid JSON"},
		{"a field we do not have", edit(`^{`, `{"hunter2":"",`), "line 1: document has a field that is not known"},
		{"a field twice", edit(`^{`, `{"tenant":"hunter2",`), "line 1: tenant is there twice"},
		{"the same entry twice", good + good, "line 2: id or sha256 is there already"},
		{"no id", edit(`"id":"\w+",`, ``), "line 1: id: must be 8"},
		{"a short hash", edit(`"sha256":"\w+"`, `"sha256":"ab"`), "line 1: sha256: must be 64"},
		{"no hash", edit(`"sha256":"\w+",`, ``), "line 1: sha256 and certificate_sha256: exactly one"},
		{"two hashes", edit(`"sha256":("\w+"),`, `"sha256":$1,"certificate_sha256":$1,`), "line 1: sha256 and certificate_sha256: exactly one"},
		{"a short fingerprint", edit(`"sha256":"\w+"`, `"certificate_sha256":"ab"`), "line 1: certificate_sha256: must be 64"},
		{"an unknown operation", edit(`"unlock"`, `"hunter2"`), "line 1: operations: unknown operation"},
		{"an unknown actor", edit(`"self"`, `"hunter2"`), "line 1: actor_kinds: unknown kind of actor"},
		{"an unknown name", edit(`"sid"`, `"hunter2"`), "line 1: names: unknown kind of account name"},
		{"no rate", edit(`"rate":\d+`, `"rate":0`), "line 1: rate: must be 1 to 60000 requests a minute, not 0"},
		{"too high a rate", edit(`"rate":\d+`, `"rate":60001`), "line 1: rate must be at most 60000"},
		{"no address", edit(`"rate":`, `"cidrs":["hunter2"],"rate":`), "line 1: cidrs: must have the form"},
		{"no operations", edit(`"operations":\[.*?\]`, `"operations":[]`), "line 1: operations, actor_kinds and names"},
		{"no end", edit(`"not_after":".*?"`, `"not_after":"hunter2"`), "line 1: not_after: must be a time"},
		{"an end too far", edit(`"not_after":".*?"`, `"not_after":"2099-01-01T00:00:00Z"`), "line 1: not_after: must be at most 366 days"},
		{"not made", edit(`"made":".*?"`, `"made":""`), "line 1: made: must be a time"},
		{"a long line", strings.Repeat("a", 1<<17), "token too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tokens")
			if err := os.WriteFile(file, []byte(tt.data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenTokens(file, zerolog.Nop())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := OpenTokens(filepath.Join(t.TempDir(), "none"), zerolog.Nop()); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// Lines of files that were made before tokens had a rate and addresses.
func TestTokensFileOfBefore(t *testing.T) {
	b := setup(t)
	line, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	old := regexp.MustCompile(`"rate":\d+,`).ReplaceAll(line, nil)
	if bytes.Equal(old, line) {
		t.Fatalf("%s has no rate", line)
	}
	if err := os.WriteFile(b.file, old, 0o600); err != nil {
		t.Fatal(err)
	}
	b.reload(t)
	if got := b.post(goodBody).StatusCode; got != 200 {
		t.Errorf("got %d", got)
	}
	entries, err := ReadTokens(b.file)
	if err != nil || len(entries) != 1 || entries[0].Rate != DefaultRate || entries[0].Addresses != nil {
		t.Errorf("got %+v, %v", entries, err)
	}
}

func TestEditorsWait(t *testing.T) {
	b := setup(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { b.add(t, Grant{}) })
	}
	wg.Wait()
	if entries, err := ReadTokens(b.file); err != nil || len(entries) != 9 {
		t.Errorf("got %d entries, %v; want 9", len(entries), err)
	}
}

// The clock stands still here but for Sleep, which takes no time.
func TestTokensChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		status := func(token string) int {
			b.token = token
			return b.post(goodBody).StatusCode
		}
		first := b.token
		second := b.add(t, Grant{})
		if got := status(second); got != 401 {
			t.Errorf("the file was read again within a second: got %d", got)
		}
		time.Sleep(recheck)
		if got := status(second); got != 200 {
			t.Errorf("a new token: got %d", got)
		}

		good, err := os.ReadFile(b.file)
		if err != nil {
			t.Fatal(err)
		}
		b.log.Reset()
		if err := os.WriteFile(b.file, append(good, "hunter2"...), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(recheck)
			if got := status(second); got != 200 {
				t.Errorf("with a broken file: got %d", got)
			}
		}
		if n := strings.Count(b.log.String(), "tokens file refused"); n != 1 || strings.Contains(b.log.String(), "hunter2") {
			t.Errorf("logged %d times, want once: %s", n, b.log)
		}

		if err := os.WriteFile(b.file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := ReadTokens(b.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := RemoveToken(b.file, entries[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck)
		if got, want := [2]int{status(first), status(second)}, [2]int{401, 200}; got != want {
			t.Errorf("after the first was removed: got %v, want %v", got, want)
		}

		time.Sleep(time.Hour)
		if got := status(second); got != 401 {
			t.Errorf("at its end: got %d", got)
		}
	})
}

// Whoever watches the file is told what comes into force and what no longer is,
// once, also if nobody calls.
func TestTokensWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			b.config.Tokens.Watch(ctx, func(made, revoked []Entry) {
				for _, e := range revoked {
					told = append(told, "-"+e.ID)
				}
				for _, e := range made {
					told = append(told, "+"+e.ID)
				}
			})
		}()
		want := func(list ...string) {
			t.Helper()
			time.Sleep(2 * recheck)
			synctest.Wait()
			if !slices.Equal(told, list) {
				t.Errorf("told %q, want %q", told, list)
			}
			told = nil
		}
		entries, err := ReadTokens(b.file)
		if err != nil {
			t.Fatal(err)
		}
		first := entries[0]
		want("+" + first.ID)
		want()
		b.add(t, Grant{})
		if entries, err = ReadTokens(b.file); err != nil {
			t.Fatal(err)
		}
		second := entries[1]
		want("+" + second.ID)
		if err := edit(b.file, func(list []Entry) ([]Entry, error) {
			list[1].Operations = append(list[1].Operations, reset.Probe)
			return list, nil
		}); err != nil {
			t.Fatal(err)
		}
		want("-"+second.ID, "+"+second.ID)
		if err := RemoveToken(b.file, first.ID); err != nil {
			t.Fatal(err)
		}
		want("-" + first.ID)
		cancel()
		<-done
	})
}

func TestForbidden(t *testing.T) {
	self := `{"actor":{"kind":"self"},` + goodBody[1:]
	tests := []struct {
		name  string
		grant Grant
		body  string
		field string // empty: allowed
	}{
		{"operation", Grant{Operations: []reset.Operation{reset.Unlock, reset.Probe}}, goodBody, "operation"},
		{"self with the default", Grant{}, self, "actor.kind"},
		{"admin with the default", Grant{}, goodBody, ""},
		{"admin with a token for self", Grant{ActorKinds: []reset.ActorKind{reset.Self}}, goodBody, "actor.kind"},
		{"self with a token for self", Grant{ActorKinds: []reset.ActorKind{reset.Self}}, self, ""},
		{"kind of name", Grant{Names: []reset.NameKind{reset.ImmutableID, reset.SID}}, goodBody, "account.upn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			b.token = b.add(t, tt.grant)
			b.reload(t)
			res := b.post(tt.body)
			m := read(t, res)
			if tt.field == "" {
				if res.StatusCode != 200 {
					t.Errorf("got %d %v", res.StatusCode, m)
				}
				return
			}
			if res.StatusCode != 403 || m["code"] != "forbidden" || m["field"] != tt.field {
				t.Errorf("got %d %v, want %s", res.StatusCode, m, tt.field)
			}
			if len(b.publisher.got) != 0 {
				t.Error("it was submitted")
			}
		})
	}
}

// A token is for the operations that it names, and each route asks for its own.
func TestForbiddenOperation(t *testing.T) {
	for _, allowed := range reset.Operations() {
		b := setup(t)
		b.token = b.add(t, Grant{Operations: []reset.Operation{allowed}})
		b.reload(t)
		for _, r := range routes() {
			res := b.postTo(r.path, r.good)
			m := read(t, res)
			if r.op == allowed {
				if res.StatusCode != 200 {
					t.Errorf("%s with a token for it: got %d %v", r.op, res.StatusCode, m)
				}
			} else if res.StatusCode != 403 || m["code"] != "forbidden" || m["field"] != "operation" ||
				m["detail"] != "operation "+r.op.String()+" is not allowed by this token" {
				t.Errorf("%s with a token for %s: got %d %v", r.op, allowed, res.StatusCode, m)
			}
		}
		if len(b.publisher.got) != 1 {
			t.Errorf("a token for %s: %d were submitted, want 1", allowed, len(b.publisher.got))
		}
	}
}

// The submission's tenant is the token's, whatever the body says.
func TestTenantOfToken(t *testing.T) {
	b := setup(t)
	b.token = b.add(t, Grant{Tenant: "other"})
	b.reload(t)
	var tenant string
	b.publisher.submit = func(_ context.Context, s reset.Submission) (reset.Status, error) {
		tenant = s.Tenant
		return ended(reset.Outcome{Code: reset.Applied}), nil
	}
	b.post(goodBody)
	if tenant != "other" {
		t.Errorf("got tenant %q", tenant)
	}
	r := httptest.NewRequest("POST", "/v1/resets", strings.NewReader(goodBody))
	r.Header.Add("Authorization", "Bearer wbk_")
	r.Header.Add("authorization", "Bearer "+b.token)
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("two tokens at once: got %d", w.Code)
	}
}
