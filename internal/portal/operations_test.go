package portal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

// What each route takes and refuses, beside what they have in common.
func TestRoutes(t *testing.T) {
	const (
		options = `"options":{"must_change":false}`
		must    = `"options":{"must_change":true}`
		current = `"current_password":"hunter2"`
		fresh   = `"password":"hunter2"`
	)
	type want = [4]string // field that is refused, in the order of routes; "": none, it is taken
	tests := []struct {
		name string
		add  string // to the least that the route takes
		want want
	}{
		{"the least", ``, want{"", "", "", ""}},
		{"options", options, want{"", "body", "body", "body"}},
		{"must change", must, want{"", "body", "body", "body"}},
		{"must change oneself", must + `,"actor":{"kind":"self"}`, want{"options.must_change", "body", "body", "body"}},
		{"oneself", options + `,"actor":{"kind":"self"}`, want{"", "body", "body", "body"}},
		{"actor", `"actor":{"kind":"self","subject":"ada"}`, want{"", "", "", ""}},
		{"password again", fresh, want{"password", "password", "body", "body"}},
		{"current password again", current, want{"body", "current_password", "body", "body"}},
		{"unknown field", `"hunter2":1`, want{"body", "body", "body", "body"}},
		{"second name", `"account":{"sid":"S-1-5-21-1-2-3-1104"}`, want{"account", "account", "account", "account"}},
		{"unknown actor", `"actor":{"kind":"hunter2"}`, want{"actor.kind", "actor.kind", "actor.kind", "actor.kind"}},
		{"null account", `"account":null`, want{"account", "account", "account", "account"}},
	}
	for _, tt := range tests {
		for i, r := range routes() {
			t.Run(tt.name+" at "+r.path, func(t *testing.T) {
				body := r.good
				if tt.add != "" {
					body = strings.TrimSuffix(body, "}") + "," + tt.add + "}"
				}
				b := setup(t)
				b.verdict(t, r, body, tt.want[i])
			})
		}
	}
}

// verdict posts body and wants it taken, or refused because of field.
func (b *bench) verdict(t *testing.T, r route, body, field string) {
	t.Helper()
	res := b.postTo(r.path, body)
	m := read(t, res)
	if field == "" {
		if res.StatusCode != 200 || len(b.publisher.got) != 1 || b.publisher.got[0].Operation != r.op || m["operation"] != r.op.String() {
			t.Errorf("got %d %v, submitted %+v", res.StatusCode, m, b.publisher.got)
		}
		return
	}
	if res.StatusCode != 400 || m["code"] != "invalid" || m["field"] != field || len(b.publisher.got) != 0 {
		t.Errorf("got %d %v %v, want %s; submitted %+v", res.StatusCode, m["code"], m["field"], field, b.publisher.got)
	}
	if all := fmt.Sprint(m) + b.log.String(); strings.Contains(all, "hunter2") {
		t.Errorf("input is repeated: %s", all)
	}
}

func TestChange(t *testing.T) {
	body := func(current string) string {
		return `{"account":{"upn":"a"},"password":"N3w secret!","current_password":` + current + `}`
	}
	tests := []struct {
		name, current string
		field         string
		want          string
	}{
		{"plain", `"0ld secret!"`, "", "0ld secret!"},
		{"with escapes", `"\u0070\ud83d\ude00\"\u0000"`, "", "p😀\"\x00"},
		{"256 units", `"` + strings.Repeat("😀", 128) + `"`, "", strings.Repeat("😀", 128)},
		{"equal to the new one", `"N3w secret!"`, "", "N3w secret!"},
		{"empty", `""`, "current_password", ""},
		{"null", `null`, "current_password", ""},
		{"a number", `1234567890`, "current_password", ""},
		{"257 units", `"` + strings.Repeat("😀", 128) + `a"`, "current_password", ""},
		{"not UTF-8", "\"hunter2\xff\"", "current_password", ""},
		{"half a pair", `"hunter2\ud800"`, "current_password", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := setup(t)
			b.verdict(t, routes()[1], body(tt.current), tt.field)
			if tt.field != "" {
				return
			}
			if p, c := b.publisher.passwords[0], b.publisher.currents[0]; p != "N3w secret!" || c != tt.want {
				t.Errorf("got passwords %q and %q, want %q", p, c, tt.want)
			}
		})
	}
	t.Run("without the current password", func(t *testing.T) { setup(t).verdict(t, routes()[1], goodBody, "current_password") })
	t.Run("without the new password", func(t *testing.T) {
		setup(t).verdict(t, routes()[1], `{"account":{"upn":"a"},"current_password":"hunter2"}`, "password")
	})
}

// What an operation has none of is empty.
func TestPasswordsOfOperations(t *testing.T) {
	want := map[reset.Operation][2]string{
		reset.Reset: {"N3w secret!", ""}, reset.Change: {"N3w secret!", "0ld secret!"}, reset.Unlock: {}, reset.Probe: {},
	}
	for _, r := range routes() {
		b := setup(t)
		b.postTo(r.path, r.good, "Idempotency-Key", "key 1", "Prefer", "wait=7")
		if got := [2]string{b.publisher.passwords[0], b.publisher.currents[0]}; got != want[r.op] {
			t.Errorf("%s: got passwords %q, want %q", r.op, got, want[r.op])
		}
		if b.publisher.got[0].IdempotencyKey != "key 1" || b.publisher.waits[0] != 7*time.Second {
			t.Errorf("%s: got %+v, waiting %s", r.op, b.publisher.got[0], b.publisher.waits[0])
		}
	}
}

// Who may say that an owner must choose again is an administrator.
func TestMustChange(t *testing.T) {
	for body, want := range map[string]bool{
		`{"options":{"must_change":true},` + goodBody[1:]:                           true,
		`{"options":{"must_change":true},"actor":{"kind":"admin"},` + goodBody[1:]:  true,
		`{"options":{"must_change":false},"actor":{"kind":"admin"},` + goodBody[1:]: false,
		goodBody: false,
	} {
		b := setup(t)
		b.verdict(t, routes()[0], body, "")
		if got := b.publisher.got[0].MustChange; got != want {
			t.Errorf("%s: got %t", body, got)
		}
	}
	m := read(t, setup(t).post(`{"options":{"must_change":true},"actor":{"kind":"self"},`+goodBody[1:]))
	if detail := fmt.Sprint(m["detail"]); !strings.Contains(detail, "is for administrators only") {
		t.Errorf("got detail %q, want why", detail)
	}
}
