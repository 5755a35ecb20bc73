package portal

import (
	"slices"
	"strings"
	"testing"
	"time"

	"writeback/internal/reset"
)

func TestTicket(t *testing.T) {
	tests := []struct {
		name, body string
		want       reset.Permit
		life       time.Duration
	}{
		{"the least", goodName, reset.Permit{Operations: []reset.Operation{reset.Reset}, Actor: reset.Actor{Kind: reset.Self}}, reset.TicketLife},
		{"everything", `{"account":{"upn":"ada@corp.example.com"},"operations":["unlock","reset"],"actor":{"kind":"admin","subject":"bob"},"expires_in":60}`,
			reset.Permit{Operations: []reset.Operation{reset.Reset, reset.Unlock}, Actor: reset.Actor{Kind: reset.Admin, Subject: "bob"}}, time.Minute},
	}
	for _, tt := range tests {
		b := setup(t)
		res := b.postTo("/v1/tickets", tt.body)
		got := read(t, res)
		if res.StatusCode != 201 || got["url"] != "https://reset.example.com/reset?t=wbt_ticket" || got["ticket"] != "wbt_ticket" || got["expires"] != "2026-03-04T05:06:07.000Z" {
			t.Errorf("%s: %d %v", tt.name, res.StatusCode, got)
		}
		p := b.tickets.got[0]
		if p.Tenant != "corp" || p.Source != "help desk" || p.Account.Value != "ada@corp.example.com" ||
			!slices.Equal(p.Operations, tt.want.Operations) || p.Actor != tt.want.Actor || b.tickets.lives[0] != tt.life {
			t.Errorf("%s: asked for %+v, %s", tt.name, p, b.tickets.lives[0])
		}
		if strings.Contains(b.log.String(), "wbt_") {
			t.Errorf("%s: the ticket is in the log: %s", tt.name, b.log)
		}
	}
}

func TestTicketRefused(t *testing.T) {
	b := setup(t)
	for _, tt := range []struct {
		name, body, field string
	}{
		{"no account", `{}`, "account"},
		{"a password", goodBody, "body"},
		{"another operation", `{"account":{"upn":"a@b"},"operations":["change"]}`, "operations"},
		{"no operation of ours", `{"account":{"upn":"a@b"},"operations":["format"]}`, "operations"},
		{"one twice", `{"account":{"upn":"a@b"},"operations":["reset","reset"]}`, "operations"},
		{"too long a life", `{"account":{"upn":"a@b"},"expires_in":901}`, "expires_in"},
		{"no life", `{"account":{"upn":"a@b"},"expires_in":0}`, "expires_in"},
		{"nobody", `{"account":{"upn":"a@b"},"actor":{"kind":"root"}}`, "actor.kind"},
	} {
		res := b.postTo("/v1/tickets", tt.body)
		if got := read(t, res); res.StatusCode != 400 || !strings.HasPrefix(got["field"].(string), tt.field) {
			t.Errorf("%s: %d %v", tt.name, res.StatusCode, got)
		}
	}
	for name, g := range map[string]Grant{
		"without the right": {ActorKinds: []reset.ActorKind{reset.Self}},
		"not for owners":    {Tickets: true},
		"not for this name": {Tickets: true, ActorKinds: []reset.ActorKind{reset.Self}, Names: []reset.NameKind{reset.SID}},
	} {
		b.token = b.add(t, g)
		b.reload(t)
		if res := b.postTo("/v1/tickets", goodName); res.StatusCode != 403 {
			t.Errorf("a token %s: %d", name, res.StatusCode)
		}
	}
	if len(b.tickets.got) != 0 {
		t.Errorf("made: %v", b.tickets.got)
	}
}

// A token that is for tickets alone may do nothing else, and the limit of an
// account holds for tickets too.
func TestTicketRight(t *testing.T) {
	b := setup(t)
	b.token = b.add(t, Grant{Tickets: true, Operations: []reset.Operation{}, ActorKinds: []reset.ActorKind{reset.Self}})
	b.config.Limits.PerAccount = 1
	b.reload(t)
	if res := b.postTo("/v1/tickets", goodName); res.StatusCode != 201 {
		t.Errorf("a ticket: %d", res.StatusCode)
	}
	for _, r := range routes() {
		if res := b.postTo(r.path, r.good); res.StatusCode != 403 {
			t.Errorf("%s: %d", r.path, res.StatusCode)
		}
	}
	if res := b.postTo("/v1/tickets", goodName); res.StatusCode != 429 {
		t.Errorf("too many tickets for one account: %d", res.StatusCode)
	}
}
