package portal

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

func TestSubmission(t *testing.T) {
	upn := reset.Account{Kind: reset.UPN, Value: "ada@corp.example.com"}
	tests := []struct {
		name, body string
		account    reset.Account
		actor      reset.Actor
		password   string
	}{
		{"least", goodBody, upn, reset.Actor{Kind: reset.Admin}, "N3w secret!"},
		{"all", `{"actor":{"kind":"self","subject":"ada"},"options":{"must_change":false},"password":"p","account":{"upn":"ada@corp.example.com"}}`,
			upn, reset.Actor{Kind: reset.Self, Subject: "ada"}, "p"},
		{"empty options and actor", `{"actor":{},"options":{},"password":"p","account":{"upn":"ada@corp.example.com"}}`,
			upn, reset.Actor{Kind: reset.Admin}, "p"},
		{"immutable id", `{"password":"p","account":{"immutable_id":"AAECAwQFBgcICQoLDA0ODw=="}}`,
			reset.Account{Kind: reset.ImmutableID, Value: "AAECAwQFBgcICQoLDA0ODw=="}, reset.Actor{Kind: reset.Admin}, "p"},
		{"GUID", `{"password":"p","account":{"object_guid":"03020100-0504-0706-0809-0a0b0c0d0e0f"}}`,
			reset.Account{Kind: reset.ObjectGUID, Value: "03020100-0504-0706-0809-0a0b0c0d0e0f"}, reset.Actor{Kind: reset.Admin}, "p"},
		{"SID", `{"password":"p","account":{"sid":"S-1-5-21-1-2-3-1104"}}`,
			reset.Account{Kind: reset.SID, Value: "S-1-5-21-1-2-3-1104"}, reset.Actor{Kind: reset.Admin}, "p"},
		{"short name, with letters that escapes stand for", `{"password":"\u0070\ud83d\ude00\"\u0000","account":{"sam_account_name":"o'h\u00e1ra"}}`,
			reset.Account{Kind: reset.SAMAccountName, Value: "o'hára"}, reset.Actor{Kind: reset.Admin}, "p😀\"\x00"},
		{"256 units", `{"password":"` + strings.Repeat("😀", 128) + `","account":{"upn":"ada@corp.example.com"}}`,
			upn, reset.Actor{Kind: reset.Admin}, strings.Repeat("😀", 128)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			res := b.post(tt.body, "Idempotency-Key", "key 1")
			if res.StatusCode != 200 {
				t.Fatalf("got %d %v", res.StatusCode, read(t, res))
			}
			want := reset.Submission{Tenant: "corp", Source: "help desk", Address: "192.0.2.1", IdempotencyKey: "key 1",
				Operation: reset.Reset, Account: tt.account, Actor: tt.actor}
			if got := b.publisher.got[0]; got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got := b.publisher.passwords[0]; got != tt.password {
				t.Errorf("got password %q, want %q", got, tt.password)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	with := func(field string) string { return strings.Replace(goodBody, "{", `{`+field+`,`, 1) }
	account := func(s string) string { return `{"password":"N3w secret!","account":` + s + `}` }
	password := func(s string) string { return `{"account":{"upn":"ada@corp.example.com"},"password":` + s + `}` }
	tests := []struct {
		name, body  string
		header      [2]string
		status      int
		code, field string
	}{
		{"malformed", `{"account":`, [2]string{}, 400, "invalid", "account"},
		{"nothing", ``, [2]string{}, 400, "invalid", "body"},
		{"not JSON", `password=hunter2`, [2]string{}, 400, "invalid", "body"},
		{"trailing data", goodBody + `{}`, [2]string{}, 400, "invalid", "body"},
		{"unknown field", with(`"hunter2":1`), [2]string{}, 400, "invalid", "body"},
		{"unknown field of the account", account(`{"upn":"a@b","hunter2":"x"}`), [2]string{}, 400, "invalid", "account"},
		{"duplicate field", with(`"password":"hunter2"`), [2]string{}, 400, "invalid", "password"},
		{"too deep", with(`"actor":{"kind":{"a":{"b":{}}}}`), [2]string{}, 400, "invalid", "actor.kind"},
		{"two names", account(`{"upn":"a@b","sam_account_name":"a"}`), [2]string{}, 400, "invalid", "account"},
		{"no name", account(`{}`), [2]string{}, 400, "invalid", "account"},
		{"no account", `{"password":"N3w secret!"}`, [2]string{}, 400, "invalid", "account"},
		{"filter in a UPN", account(`{"upn":"*)(objectClass=*"}`), [2]string{}, 400, "invalid", "account.upn"},
		{"filter in a short name", account(`{"sam_account_name":"a\\2a"}`), [2]string{}, 400, "invalid", "account.sam_account_name"},
		{"filter in a GUID", account(`{"object_guid":"*"}`), [2]string{}, 400, "invalid", "account.object_guid"},
		{"filter in an immutable id", account(`{"immutable_id":"*)(cn=*"}`), [2]string{}, 400, "invalid", "account.immutable_id"},
		{"filter in a SID", account(`{"sid":"S-1-5-21-*"}`), [2]string{}, 400, "invalid", "account.sid"},
		{"NUL in a UPN", account(`{"upn":"ada\u0000@corp.example.com"}`), [2]string{}, 400, "invalid", "account.upn"},
		{"NUL in a short name", account(`{"sam_account_name":"ada\u0000"}`), [2]string{}, 400, "invalid", "account.sam_account_name"},
		{"empty name", account(`{"upn":""}`), [2]string{}, 400, "invalid", "account.upn"},
		{"half a pair in a name", account(`{"upn":"ada\ud800"}`), [2]string{}, 400, "invalid", "account.upn"},
		{"no password", `{"account":{"upn":"ada@corp.example.com"}}`, [2]string{}, 400, "invalid", "password"},
		{"empty password", password(`""`), [2]string{}, 400, "invalid", "password"},
		{"257 units", password(`"` + strings.Repeat("😀", 128) + `a"`), [2]string{}, 400, "invalid", "password"},
		{"password not UTF-8", password("\"hunter2\xff\""), [2]string{}, 400, "invalid", "password"},
		{"half a pair in the password", password(`"hunter2\ud800"`), [2]string{}, 400, "invalid", "password"},
		{"null password", password(`null`), [2]string{}, 400, "invalid", "password"},
		{"number as password", password(`1234567890`), [2]string{}, 400, "invalid", "password"},
		{"must change oneself", with(`"actor":{"kind":"self"},"options":{"must_change":true}`), [2]string{}, 400, "invalid", "options.must_change"},
		{"must change as a text", with(`"options":{"must_change":"true"}`), [2]string{}, 400, "invalid", "options.must_change"},
		{"unknown option", with(`"options":{"hunter2":true}`), [2]string{}, 400, "invalid", "options"},
		{"unknown actor", with(`"actor":{"kind":"hunter2"}`), [2]string{}, 400, "invalid", "actor.kind"},
		{"long subject", with(`"actor":{"subject":"` + strings.Repeat("a", 257) + `"}`), [2]string{}, 400, "invalid", "actor.subject"},
		{"line break in the subject", with(`"actor":{"subject":"a\nb"}`), [2]string{}, 400, "invalid", "actor.subject"},
		{"over 64 KiB", with(`"actor":{"subject":"` + strings.Repeat("a", maxBody) + `"}`), [2]string{}, 413, "too_large", "body"},
		{"over 64 KiB of space", goodBody + strings.Repeat(" ", maxBody), [2]string{}, 413, "too_large", "body"},
		{"a form", goodBody, [2]string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type", "Content-Type"},
		{"no type", goodBody, [2]string{"Content-Type", ""}, 415, "unsupported_media_type", "Content-Type"},
		{"a type that begins like ours", goodBody, [2]string{"Content-Type", "application/jsonp"}, 415, "unsupported_media_type", "Content-Type"},
		{"another charset", goodBody, [2]string{"Content-Type", "application/json; charset=utf-16"}, 415, "unsupported_media_type", "Content-Type"},
		{"compressed", goodBody, [2]string{"Content-Encoding", "gzip"}, 415, "unsupported_media_type", "Content-Type"},
		{"long key", goodBody, [2]string{"Idempotency-Key", strings.Repeat("k", 129)}, 400, "invalid", "Idempotency-Key"},
		{"key of other letters", goodBody, [2]string{"Idempotency-Key", "schlüssel"}, 400, "invalid", "Idempotency-Key"},
		{"no token", goodBody, [2]string{"Authorization", ""}, 401, "unauthenticated", ""},
		{"wrong token", goodBody, [2]string{"Authorization", "Bearer wbk_" + strings.Repeat("A", 43)}, 401, "unauthenticated", ""},
		{"short token", goodBody, [2]string{"Authorization", "Bearer wbk_"}, 401, "unauthenticated", ""},
		{"another scheme", goodBody, [2]string{"Authorization", "Basic aGk6aHVudGVyMg=="}, 401, "unauthenticated", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			var headers []string
			if tt.header[0] != "" {
				headers = tt.header[:]
			}
			res := b.post(tt.body, headers...)
			m := read(t, res)
			field, _ := m["field"].(string)
			if res.StatusCode != tt.status || m["code"] != tt.code || field != tt.field {
				t.Errorf("got %d %v %q, want %d %s %q (%v)", res.StatusCode, m["code"], field, tt.status, tt.code, tt.field, m["detail"])
			}
			if len(b.publisher.got) != 0 {
				t.Error("it was submitted")
			}
			if detail, _ := m["detail"].(string); detail == "" || strings.Contains(detail, "hunter2") {
				t.Errorf("got detail %q", detail)
			}
			if want := map[bool]string{true: "Bearer"}[tt.status == 401]; res.Header.Get("WWW-Authenticate") != want {
				t.Errorf("got WWW-Authenticate %q, want %q", res.Header.Get("WWW-Authenticate"), want)
			}
			if strings.Contains(b.log.String(), "hunter2") {
				t.Errorf("the log repeats input: %s", b.log)
			}
		})
	}
}

// A body without Content-Length is bounded as well.
func TestChunkedBody(t *testing.T) {
	b := setup(t)
	for body, want := range map[string]int{
		goodBody: 200,
		goodBody + strings.Repeat(" ", maxBody-len(goodBody)):   200,
		goodBody + strings.Repeat(" ", maxBody-len(goodBody)+1): 413,
	} {
		r := httptest.NewRequest("POST", "/v1/resets", strings.NewReader(body))
		r.ContentLength = -1
		if res := b.do(r); res.StatusCode != want {
			t.Errorf("%d bytes: got %d, want %d", len(body), res.StatusCode, want)
		}
	}
	r := httptest.NewRequest("POST", "/v1/resets", strings.NewReader(goodBody[:10]))
	r.ContentLength = int64(len(goodBody))
	if m := read(t, b.do(r)); m["field"] != "body" {
		t.Errorf("a body that was cut: got %v", m)
	}
}

func TestPrefer(t *testing.T) {
	tests := []struct {
		name    string
		headers []string
		wait    time.Duration
		applied string
	}{
		{"none", nil, 15 * time.Second, ""},
		{"five", []string{"wait=5"}, 5 * time.Second, "wait=5"},
		{"zero", []string{"wait=0"}, 0, "wait=0"},
		{"the most", []string{"wait=60"}, time.Minute, "wait=60"},
		{"more", []string{"wait=61"}, time.Minute, "wait=60"},
		{"much more", []string{"wait=99999999999999999999999"}, time.Minute, "wait=60"},
		{"with space and capitals", []string{" WAIT = 7 "}, 7 * time.Second, "wait=7"},
		{"among others", []string{`respond-async;x="a,wait=1", foo="b;wait=2\",wait=3", wait=8; y=z`}, 8 * time.Second, "wait=8"},
		{"in the second header", []string{"respond-async", "wait=9"}, 9 * time.Second, "wait=9"},
		{"the first one counts", []string{"wait=3, wait=4"}, 3 * time.Second, "wait=3"},
		{"negative", []string{"wait=-1"}, 15 * time.Second, ""},
		{"a fraction", []string{"wait=1.5"}, 15 * time.Second, ""},
		{"no number", []string{"wait"}, 15 * time.Second, ""},
		{"empty", []string{"wait="}, 15 * time.Second, ""},
		{"malformed", []string{`"`, ";=,"}, 15 * time.Second, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			r := httptest.NewRequest("POST", "/v1/resets", strings.NewReader(goodBody))
			r.Header["Prefer"] = tt.headers
			res := b.do(r)
			if got := b.publisher.waits[0]; got != tt.wait {
				t.Errorf("waited %s, want %s", got, tt.wait)
			}
			if got := res.Header.Get("Preference-Applied"); got != tt.applied {
				t.Errorf("applied %q, want %q", got, tt.applied)
			}
		})
	}
}

// A caller that leaves does not take the request with it, but its time is
// limited all the same.
func TestCallerLeaves(t *testing.T) {
	b := setup(t)
	ctx, leave := context.WithCancel(context.Background())
	b.publisher.submit = func(ctx context.Context, _ reset.Submission) (reset.Status, error) {
		leave()
		if err := ctx.Err(); err != nil {
			t.Errorf("the work was stopped: %v", err)
		}
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > defaultWait+margin {
			t.Errorf("the work may take until %v", end)
		}
		return ended(reset.Outcome{Code: reset.Applied}), nil
	}
	r := httptest.NewRequest("POST", "/v1/resets", strings.NewReader(goodBody)).WithContext(ctx)
	if res := b.do(r); res.StatusCode != 200 {
		t.Errorf("got %d", res.StatusCode)
	}
}

func TestRequest(t *testing.T) {
	b := setup(t)
	other := b.add(t, Grant{Tenant: "other"})
	b.reload(t)
	b.publisher.status = func(tenant string, r reset.Ref) (reset.Status, error) {
		if tenant != "corp" || r != ref {
			return reset.Status{}, &reset.Refusal{Code: reset.UnknownRequest}
		}
		return ended(reset.Outcome{Code: reset.PasswordInHistory}), nil
	}
	tests := []struct {
		name, id, token string
		status          int
		code            string
	}{
		{"ours", ref.String(), b.token, 200, "password_in_history"},
		{"another tenant's", ref.String(), other, 404, "unknown_request"},
		{"none", "cloud_1-" + strings.Repeat("0", 32), b.token, 404, "unknown_request"},
		{"malformed", "hunter2", b.token, 404, "unknown_request"},
		{"with a slash", "cloud_1%2f" + ref.ID.String(), b.token, 404, "unknown_request"},
		{"without a token", ref.String(), "", 401, "unauthenticated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := b.do(httptest.NewRequest("GET", "/v1/requests/"+tt.id, nil), "Authorization", "Bearer "+tt.token)
			if m := read(t, res); res.StatusCode != tt.status || m["code"] != tt.code {
				t.Errorf("got %d %v, want %d %s", res.StatusCode, m["code"], tt.status, tt.code)
			}
		})
	}
}

func TestUnclassifiedError(t *testing.T) {
	b := setup(t)
	b.publisher.submit = func(context.Context, reset.Submission) (reset.Status, error) {
		return reset.Status{}, errors.New("dialling 10.0.0.1: no route")
	}
	res := b.post(goodBody)
	m := read(t, res)
	if res.StatusCode != 500 || m["code"] != "internal" || m["detail"] != internal.text {
		t.Errorf("got %d %v", res.StatusCode, m)
	}
	if !strings.Contains(b.log.String(), "no route") {
		t.Errorf("the log does not say why: %s", b.log)
	}
}
