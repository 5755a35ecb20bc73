package directory

import (
	"strconv"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"writeback/internal/directory/policy"
)

// A wrong password is tried only if it cannot lock the account and the user
// has another one left. What is not known allows nothing.
func TestAskable(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) string {
		return strconv.FormatInt((now.Add(-d).Unix()+11_644_473_600)*10_000_000, 10)
	}
	const window = 30 * time.Minute
	rules := func(threshold int, window time.Duration) policy.Rules {
		return policy.Rules{Known: true, LockoutThreshold: threshold, LockoutWindow: window}
	}
	tests := []struct {
		name   string
		change map[string]string // empty: left out
		rules  policy.Rules
		want   bool
	}{
		{"none wrong", nil, rules(5, window), true},
		{"two of five", map[string]string{"badPwdCount": "2"}, rules(5, window), true},
		{"three of five", map[string]string{"badPwdCount": "3"}, rules(5, window), false},
		{"four of five", map[string]string{"badPwdCount": "4"}, rules(5, window), false},
		{"more than lock it", map[string]string{"badPwdCount": "6"}, rules(5, window), false},
		{"none of three", nil, rules(3, window), true},
		{"none of two", nil, rules(2, window), false},
		{"none of one", nil, rules(1, window), false},
		{"no lockout", map[string]string{"badPwdCount": "99"}, rules(0, 0), true},
		{"no lockout, no count", map[string]string{"badPwdCount": ""}, rules(0, 0), true},
		{"before the window", map[string]string{"badPwdCount": "4", "badPasswordTime": ago(window + 6*time.Second)}, rules(5, window), true},
		{"before the window, none of two", map[string]string{"badPwdCount": "1", "badPasswordTime": ago(2 * window)}, rules(2, window), false},
		{"just before, as clocks may differ", map[string]string{"badPwdCount": "4", "badPasswordTime": ago(window + 4*time.Second)}, rules(5, window), false},
		{"in the window", map[string]string{"badPwdCount": "4", "badPasswordTime": ago(window / 2)}, rules(5, window), false},
		{"by a clock ahead", map[string]string{"badPwdCount": "4", "badPasswordTime": ago(-4 * time.Second)}, rules(5, window), false},
		{"no window", map[string]string{"badPwdCount": "4", "badPasswordTime": ago(2 * window)}, rules(5, 0), false},
		{"no time", map[string]string{"badPwdCount": "4", "badPasswordTime": ""}, rules(5, window), false},
		{"time malformed", map[string]string{"badPasswordTime": "x"}, rules(5, window), false},
		{"no count", map[string]string{"badPwdCount": ""}, rules(5, window), false},
		{"count malformed", map[string]string{"badPwdCount": "x"}, rules(5, window), false},
		{"locked", map[string]string{"msDS-User-Account-Control-Computed": "16"}, rules(5, window), false},
		{"locked, no lockout by now", map[string]string{"msDS-User-Account-Control-Computed": "16"}, rules(0, 0), false},
		{"no computed bits", map[string]string{"msDS-User-Account-Control-Computed": ""}, rules(0, 0), false},
		{"password expired", map[string]string{"msDS-User-Account-Control-Computed": "8388608"}, rules(5, window), true},
		{"disabled", map[string]string{"userAccountControl": "514"}, rules(5, window), true},
		{"smartcard", map[string]string{"userAccountControl": "262656"}, rules(0, 0), false},
		{"no control", map[string]string{"userAccountControl": ""}, rules(0, 0), false},
		{"rules unknown", nil, policy.Rules{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			attributes := map[string][]string{
				"userAccountControl": {"512"}, "msDS-User-Account-Control-Computed": {"0"},
				"badPwdCount": {"0"}, "badPasswordTime": {ago(time.Minute)},
			}
			for name, value := range tt.change {
				if attributes[name] = []string{value}; value == "" {
					delete(attributes, name)
				}
			}
			if err := askable(ldap.NewEntry("CN=x", attributes), tt.rules, now); (err == nil) != tt.want {
				t.Errorf("got %v, want it allowed: %t", err, tt.want)
			}
		})
	}
}

// A change is tried where a wrong current password leaves its user two tries, or
// where nothing was wrong yet. What is not known keeps nobody from a change.
func TestGuard(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const window = 30 * time.Minute
	for _, tt := range []struct {
		count     int64
		ago       time.Duration
		threshold int
		known     bool
		want      bool // tried
	}{
		{0, time.Minute, 5, true, true},
		{2, time.Minute, 5, true, true},
		{3, time.Minute, 5, true, false},
		{3, 2 * window, 5, true, true},
		{9, time.Minute, 0, true, true},
		{9, time.Minute, 5, false, true},
		{0, time.Minute, 2, true, true},
		{1, time.Minute, 2, true, false},
		{1, time.Minute, 3, true, false},
	} {
		rules := policy.Rules{Known: tt.known, LockoutThreshold: tt.threshold, LockoutWindow: window}
		err := attempts{tt.count, now.Add(-tt.ago)}.guard(rules, now)
		if (err == nil) != tt.want {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
}
