package portal

import (
	"encoding/json"
	"testing"

	"writeback/internal/reset"
)

// What is taken as a change of switches says the same to encoding/json, and at least
// one of them.
func FuzzSwitches(f *testing.F) {
	for _, seed := range []string{
		`{"writeback":false}`, `{"unlock":true,"writeback":true}`, `{"unlock":true,"actor":{"subject":"grace"}}`, `{}`,
		`{"unlock":true,"unlock":false}`, `{"Unlock":true}`, `{"unlock":1}`, `{"unlock":true,"actor":{"kind":"self"}}`, `{"unlock":true}x`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseSwitches(body)
		if err != nil {
			return
		}
		var want struct {
			Writeback, Unlock *bool
			Actor             struct{ Subject string }
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q is taken: %v", body, err)
		}
		n := 0
		for name, on := range map[reset.SwitchName]*bool{reset.SwitchWriteback: want.Writeback, reset.SwitchUnlock: want.Unlock} {
			got, ok := c.Set[name]
			if ok != (on != nil) || ok && got != *on {
				t.Errorf("%q sets %s to %t (%t)", body, name, got, ok)
			}
			if ok {
				n++
			}
		}
		if n == 0 || c.Actor != (reset.Actor{Kind: reset.Admin, Subject: want.Actor.Subject}) {
			t.Errorf("%q sets %v for %v", body, c.Set, c.Actor)
		}
	})
}
