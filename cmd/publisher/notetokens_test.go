package main

import (
	"reflect"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/portal"
	"writeback/internal/reset"
)

// The audit is told all that a token is for, the switches too.
func TestTokenMade(t *testing.T) {
	made := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	got := tokenMade(portal.Entry{ID: "0a1b2c3d", Certificate: true, Made: made, Grant: portal.Grant{
		Operations: []reset.Operation{reset.Reset, reset.Probe}, Switches: true, ActorKinds: []reset.ActorKind{reset.Self}, NotAfter: made.Add(time.Hour),
	}})
	want := envelope.TokenMade{
		Token: "0a1b2c3d", Certificate: true, Operations: []string{"reset", "probe", "switches"}, Actors: []string{"self"},
		Made: made, NotAfter: made.Add(time.Hour),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
